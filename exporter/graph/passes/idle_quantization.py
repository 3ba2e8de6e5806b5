"""Remove quantization that changes nothing.

- DequantizeLinear → QuantizeLinear of the same parameters: the integers as they were.
- QuantizeLinear of a value that is quantized so already (duplicated quantizers): one for all.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import is_dequantize, is_quantize, parameters_of, readers


def idle_quantization(model: ir.Model, changes: Changes) -> bool:
    """Remove idle pairs and duplicates; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.graph is None or not (is_quantize(node) or is_dequantize(node)):
            continue
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        inverse = is_quantize(node) and is_dequantize(source)
        if inverse and source is not None and parameters_of(node).same_as(parameters_of(source)):
            replacement = source.inputs[0]
        else:
            replacement = _twin(node)
        if replacement is None or node.outputs[0].is_graph_output():
            continue
        node.outputs[0].replace_all_uses_with(replacement)
        model.graph.remove(node, safe=True)
        changes.note("quantization that changes nothing is dropped", node.name)
        modified = True
    return modified


def _twin(node: ir.Node) -> ir.Value | None:
    """The result of an earlier node that does the same."""
    if node.inputs[0] is None:
        return None
    for other in readers(node.inputs[0]):
        if other is node:
            return None
        if other.op_type == node.op_type and parameters_of(other).same_as(parameters_of(node)):
            return other.outputs[0]
    return None
