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
    parameters_of,
    quantization_behind,
    replace_parameters,
)

BOUNDED = {"Sigmoid": (1.0 / 256.0, -128), "Softmax": (1.0 / 256.0, -128), "Tanh": (1 / 128.0, 0)}
"""Scale and zero point of the int8 result, by operator."""
WIDE_BOUNDED = (1.0 / 32768.0, 0)
"""Of an int16 result, for all of them."""


def bounded_scales(model: ir.Model, changes: Changes) -> bool:
    """Set the scales that kernels have, where numbers may change; return whether any did."""
    if not changes.requantize:
        return False
    modified = False
    for node in list(model.graph):
        if node.op_type not in BOUNDED:
            continue
        quantize = quantization_behind(node)
        if quantize is not None:
            modified |= _set(model.graph, node, quantize, changes)
    return modified


def _set(graph: ir.Graph, node: ir.Node, quantize: ir.Node, changes: Changes) -> bool:
    before = parameters_of(quantize)
    kind = before.zero_point.dtype
    scale, point = WIDE_BOUNDED if kind == np.int16 else BOUNDED[node.op_type]
    wanted = Parameters(np.array(scale, np.float32), np.array(point, kind))
    if not replace_parameters(graph, quantize, wanted):
        return False
    detail = f"{scale:.6g} in place of {float(before.scale):.6g}"
    what = f"results of {node.op_type} get the scale that kernels have"
    changes.note(what, node.name, detail, exact=False)
    return True
