"""Results of Softmax, Sigmoid and Tanh get the scale that int8 kernels have, on request.

A quantizer measures a scale for them as for any activation; kernels have one alone, which covers
all that the operator can give: 1/256 from 0, or 1/128 around it; 1/32768 in int16. As it stands,
such an operator is computed in float.

Requires: signed_activations.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import (
    Parameters,
    is_dequantize,
    is_quantize,
    parameters_of,
    readers,
    set_parameters,
)

BOUNDED = {"Sigmoid": (1.0 / 256.0, -128), "Softmax": (1.0 / 256.0, -128), "Tanh": (1 / 128.0, 0)}
"""Scale and zero point of the int8 result, by operator."""
WIDE_BOUNDED = (1.0 / 32768.0, 0)
"""Of an int16 result, for all of them."""
MOVING = {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that give all values of their input and no others."""


def bounded_scales(model: ir.Model, changes: Changes) -> bool:
    """Set the scales that kernels have, where numbers may change; return whether any did."""
    if not changes.requantize:
        return False
    modified = False
    for node in list(model.graph):
        if node.op_type not in BOUNDED:
            continue
        quantize = _quantization(node)
        if quantize is not None:
            modified |= _set(model.graph, node, quantize, changes)
    return modified


def _quantization(node: ir.Node) -> ir.Node | None:
    """The one quantization of its result, which other operators may move before.

    Softmax of opset 12 and older works on two axes; in newer ones it has a Reshape on both sides.
    """
    while True:
        found = readers(node.outputs[0])
        if len(found) != 1 or node.outputs[0].is_graph_output():
            return None
        if is_quantize(found[0]):
            return found[0]
        if found[0].op_type not in MOVING:
            return None
        node = found[0]


def _set(graph: ir.Graph, node: ir.Node, quantize: ir.Node, changes: Changes) -> bool:
    integers = quantize.outputs[0]
    before = parameters_of(quantize)
    kind = before.zero_point.dtype
    scale, point = WIDE_BOUNDED if kind == np.int16 else BOUNDED[node.op_type]
    wanted = Parameters(np.array(scale, np.float32), np.array(point, kind))
    users = readers(integers)
    plain = not integers.is_graph_output() and all(map(is_dequantize, users))
    if not plain or before.same_as(wanted):
        return False
    for one in (quantize, *users):
        set_parameters(graph, one, wanted)
    detail = f"{scale:.6g} in place of {float(before.scale):.6g}"
    what = f"results of {node.op_type} get the scale that kernels have"
    changes.note(what, node.name, detail, exact=False)
    return True
