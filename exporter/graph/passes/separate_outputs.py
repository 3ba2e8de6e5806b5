"""A DequantizeLinear that gives an output of the graph gives nothing else.

    q → DQ → output, and Conv   becomes   q → DQ → output;  q → DQ → Conv

so that the convolution still is seen to read integers.

Requires: parameters written out (explicit_quantization); comes after idle_quantization, which would
make one of the two again.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.qdq import is_dequantize, parameters_of


def separate_outputs(model: ir.Model) -> bool:
    """Double each that is read as well; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        value = node.outputs[0] if node.outputs else None
        if value is None or not is_dequantize(node) or not value.is_graph_output():
            continue
        users = list(value.uses())
        if not users or node.inputs[0] is None:
            continue
        twin = qdq.dequantize(
            model.graph, node, node.inputs[0], parameters_of(node), f"{value.name}_inside"
        )
        twin.shape = value.shape
        for user, index in users:
            user.replace_input_with(index, twin)
        modified = True
    return modified
