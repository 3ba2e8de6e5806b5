"""Biases become int32 with scale = input scale * weight scale and zero point 0.

Where the operator's result is quantized and its input and weight come from DequantizeLinear. A
float bias is rounded to that scale, which is some thousand times finer than a step of the result.
So is an int32 bias of another scale; one that differs by rounding alone keeps its integers.

Requires: symmetric_weights, signed_activations.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant
from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import (
    Parameters,
    is_dequantize,
    is_quantize,
    parameters_of,
    readers,
    source_quantization,
)

Array = np.ndarray
INT32_MAX = 2**31 - 1
SAME = 1e-6
"""Relative: a product of two float32 scales that was rounded twice."""


def integer_biases(model: ir.Model, changes: Changes) -> bool:
    """Bring every bias of an integer operator to its form; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2 and node.inputs[2] is not None:
            modified |= _bring(model.graph, node, changes)
    return modified


def _bring(graph: ir.Graph, node: ir.Node, changes: Changes) -> bool:
    data, weight = (source_quantization(node.inputs[index]) for index in (0, 1))
    if data is None or weight is None or not is_quantized(node):
        return False
    product = data.scale.astype(np.float64) * weight.scale.astype(np.float64)
    wanted = np.asarray(product, np.float32)
    producer = node.inputs[2].producer()
    before = parameters_of(producer) if is_dequantize(producer) else None
    integers = constant(producer.inputs[0]) if producer is not None else None
    real = constant(node.inputs[2])
    if before is not None and integers is not None:
        wide = np.broadcast_to(before.scale.astype(np.float64), product.shape or (1,))
        close = np.allclose(wide, product.reshape(wide.shape), rtol=SAME, atol=0.0)
        if close and not before.zero_point.any() and integers.dtype == np.int32:
            if before.scale.shape == wanted.shape and np.array_equal(before.scale, wanted):
                return False
            _replace(graph, node, integers, wanted)
            return True
        real = before.dequantize(integers)
    if real is None:
        return False
    rounded = _rounded(node, real, wanted)
    _replace(graph, node, rounded, wanted)
    _note(node, real, rounded, wanted, changes)
    return True


def _note(node: ir.Node, real: Array, rounded: Array, scale: Array, changes: Changes) -> None:
    """Tell how far rounding moved a bias, if it did."""
    moved = np.abs(rounded * scale.astype(np.float64) - real.astype(np.float64)).max(initial=0.0)
    what = "biases are rounded to input scale * weight scale"
    changes.note(what, node.name, f"largest change {moved:.2g}", exact=not moved)


def is_quantized(node: ir.Node) -> bool:
    """Whether the result is quantized: right behind the operator, or behind its activation."""
    users = readers(node.outputs[0])
    if len(users) == 1 and users[0].op_type in ("Relu", "Clip"):
        users = readers(users[0].outputs[0])
    return bool(users) and all(is_quantize(user) for user in users)


def _rounded(node: ir.Node, real: Array, scale: Array) -> Array:
    steps = np.rint(real.astype(np.float64) / scale.astype(np.float64))
    if abs(steps).max(initial=0) > INT32_MAX:
        channel = int(abs(steps).argmax())
        raise UnsupportedError(
            str(node.name),
            node.op_type,
            f"its bias does not fit int32 at channel {channel}: the channel's scale is tiny",
            "prune the channel, or quantize it with a larger scale",
        )
    return steps.astype(np.int32)


def _replace(graph: ir.Graph, node: ir.Node, integers: Array, scale: Array) -> None:
    name = f"{node.inputs[2].name}_int32"
    value = add_constant(graph, name, integers.reshape(-1).astype(np.int32))
    axis = 0 if scale.ndim else None
    parameters = Parameters(scale, np.zeros(scale.shape, np.int32), axis)
    node.replace_input_with(2, qdq.dequantize(graph, node, value, parameters, f"{name}_real"))
