"""Weights become int8 with zero point 0 and integers in [-127, 127].

- uint8 with zero point 128 → int8 with zero point 0: exact.
- -128 is outside the range that int8 kernels take (two products of it overflow 16 bits). Refused;
  or, on request, -127 in its place.
- Any other zero point has no int8 form. Refused; or, on request, quantized anew with one scale for
  each output channel.

Requires: explicit_quantization, integer_constants.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant
from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import Parameters, is_dequantize, parameters_of

Array = np.ndarray
LIMIT = 127
_OFFSET = 128
_OPERATORS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def symmetric_weights(model: ir.Model, changes: Changes) -> bool:
    """Bring every constant weight to its form; return whether anything changed.

    Raises:
        UnsupportedError: one that has no exact form, where no requantization is allowed.
    """
    modified = False
    for node in list(model.graph):
        if node.op_type in _OPERATORS and len(node.inputs) > 1 and node.inputs[1] is not None:
            modified |= _bring(model.graph, node, changes)
    return modified


def _bring(graph: ir.Graph, node: ir.Node, changes: Changes) -> bool:
    producer = node.inputs[1].producer()
    data = (
        constant(producer.inputs[0]) if producer is not None and is_dequantize(producer) else None
    )
    if producer is None or data is None or data.dtype.kind not in "iu" or data.dtype == np.int32:
        return False
    before = parameters_of(producer)
    points = before.zero_point.astype(np.int32)
    integers = data.astype(np.int32) - before.wide_zero_point(data.ndim)
    middle = _OFFSET if data.dtype == np.uint8 else 0
    if (points == middle).all() and abs(integers).max(initial=0) <= LIMIT:
        if data.dtype == np.int8:
            return False
        after = Parameters(before.scale, np.zeros(before.scale.shape, np.int8), before.axis)
        _replace(graph, node, integers.astype(np.int8), after)
        changes.note("uint8 weights with zero point 128 become int8", node.name)
        return True
    if (points == middle).all():
        _clamp(graph, node, integers, before, changes)
    else:
        _requantize(graph, node, data, before, changes)
    return True


def _clamp(
    graph: ir.Graph, node: ir.Node, integers: Array, before: Parameters, changes: Changes
) -> None:
    count = int((integers < -LIMIT).sum())
    changes.require_requantize(
        node.name, node.op_type, f"{count} of its weights are -128, outside [-127, 127]"
    )
    after = Parameters(before.scale, np.zeros(before.scale.shape, np.int8), before.axis)
    _replace(graph, node, np.clip(integers, -LIMIT, LIMIT).astype(np.int8), after)
    detail = f"{count} of {integers.size} weights move by one step"
    changes.note("weights of -128 become -127", node.name, detail, exact=False)


def _requantize(
    graph: ir.Graph, node: ir.Node, data: Array, before: Parameters, changes: Changes
) -> None:
    points = np.unique(before.zero_point)
    shown = ", ".join(map(str, points[:4])) + (", …" if len(points) > 4 else "")
    changes.require_requantize(
        node.name,
        node.op_type,
        f"its weights are asymmetric {data.dtype} (zero point {shown}); kernels take int8 weights "
        "with zero point 0",
    )
    real = before.dequantize(data).astype(np.float64)
    axis = _output_axis(node, data.ndim)
    others = tuple(other for other in range(data.ndim) if other != axis)
    largest = abs(real).max(axis=others) if data.size else np.ones(data.shape[axis])
    fallback = float(largest.max(initial=0.0)) or 1.0
    scale = (np.where(largest > 0, largest, fallback) / LIMIT).astype(np.float32)
    after = Parameters(scale, np.zeros(scale.shape, np.int8), axis)
    integers = np.clip(after.quantize(real.astype(np.float32)), -LIMIT, LIMIT)
    _replace(graph, node, integers, after)
    changes.note(
        "asymmetric weights are quantized anew",
        node.name,
        _size(real, integers, after),
        exact=False,
    )


def _size(real: Array, integers: Array, after: Parameters) -> str:
    error = after.dequantize(integers) - real
    power, noise = float(np.square(real).sum()), float(np.square(error).sum())
    ratio = f"{10 * np.log10(power / noise):.1f} dB SQNR" if noise > 0 else "no change"
    return f"largest change {abs(error).max(initial=0):.3g}, {ratio}"


def _output_axis(node: ir.Node, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    transposed = node.attributes.get("transB")
    return 0 if transposed is not None and transposed.value else rank - 1


def _replace(graph: ir.Graph, node: ir.Node, integers: Array, after: Parameters) -> None:
    """Let one node read its own weight; another that shares the old one is brought by itself."""
    name = str(node.inputs[1].name)
    value = add_constant(graph, f"{name}_int8", integers)
    node.replace_input_with(1, qdq.dequantize(graph, node, value, after, f"{name}_symmetric"))
