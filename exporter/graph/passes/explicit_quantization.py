"""Write every quantization out in full, in the standard domain.

- com.microsoft's QuantizeLinear and DequantizeLinear become ONNX's own: the same for int8, and for
  int16 since opset 21.
- A zero point that is left out becomes the 0 that it stands for; one scale in a list becomes one
  scale; scales become float32.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import DEQUANTIZE, QUANTIZE, parameters_of, set_parameters


def explicit_quantization(model: ir.Model, changes: Changes) -> bool:
    """Rewrite every quantization operator; return whether there is one.

    Raises:
        UnsupportedError: parameters that no kernel takes: computed, in blocks, of other types.
    """
    modified = False
    for node in list(model.graph):
        if node.op_type not in (QUANTIZE, DEQUANTIZE):
            continue
        if node.domain:
            changes.note("com.microsoft's QDQ becomes ONNX's own", node.name)
            node.domain = ""
        parameters = parameters_of(node)
        set_parameters(model.graph, node, parameters)
        modified = True
    return modified
