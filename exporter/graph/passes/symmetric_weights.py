"""Weights become int8 with zero point 0 and integers in [-127, 127].

- uint8 with zero point 128 → int8 with zero point 0: exact.
- -128 is outside the range that int8 kernels take (two products of it overflow 16 bits). Refused;
  or, on request, -127 in its place.
- Any other zero point has no int8 form, nor have int16 weights. Refused; or, on request, quantized
  anew with one scale for each output channel.
- Weights that break the pair rule (`exporter.graph.pairs`) stay as they are; or, on request, the
  channels that break it get a larger scale.

Requires: explicit_quantization, integer_constants.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant
from exporter.graph.pairs import PAIR_MAX, largest_pairs
from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import Parameters, is_dequantize, parameters_of

Array = np.ndarray
LIMIT = 127
_OFFSET = 128
_PAIR_OF_REALS = PAIR_MAX - 1
"""What two real weights may sum to, in steps: rounding adds at most half a step to each."""
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
    symmetric = bool((points == middle).all()) and data.dtype.itemsize == 1
    if symmetric and changes.requantize and _breaks_pair_rule(node, integers):
        _widen(graph, node, integers, before, changes)
    elif symmetric and abs(integers).max(initial=0) <= LIMIT:
        if data.dtype == np.int8:
            return False
        after = Parameters(before.scale, np.zeros(before.scale.shape, np.int8), before.axis)
        _replace(graph, node, integers.astype(np.int8), after)
        changes.note("uint8 weights with zero point 128 become int8", node.name)
    elif symmetric:
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
    wide = data.dtype.itemsize > 1
    found = f"{data.dtype}" if wide else f"asymmetric {data.dtype} (zero point {shown})"
    changes.require_requantize(
        node.name,
        node.op_type,
        f"its weights are {found}; kernels take int8 weights with zero point 0",
    )
    real = _output_first(node, before.dequantize(data).astype(np.float64))
    largest = abs(real).reshape(len(real), -1).max(1, initial=0)
    fallback = float(largest.max(initial=0.0)) or 1.0
    scale = np.where(largest > 0, largest, fallback) / LIMIT
    if _is_summed_in_pairs(node, real):
        scale = np.maximum(scale, largest_pairs(real) / _PAIR_OF_REALS)
    what = f"{data.dtype if wide else 'asymmetric'} weights are quantized anew"
    _quantize(graph, node, real, scale, what, changes)


def _widen(
    graph: ir.Graph, node: ir.Node, integers: Array, before: Parameters, changes: Changes
) -> None:
    """A larger scale for channels that break the pair rule; the others' integers stay."""
    first = _output_first(node, integers)
    old = np.broadcast_to(before.scale.reshape(-1), len(first)).astype(np.float64)
    wide = old.reshape(-1, *(1,) * (first.ndim - 1))
    pairs = largest_pairs(first)
    scale = np.where(pairs > PAIR_MAX, old * pairs / _PAIR_OF_REALS, old)
    what = "weights whose sums saturate on some CPUs are quantized anew"
    _quantize(graph, node, first * wide, scale, what, changes)


def _quantize(
    graph: ir.Graph, node: ir.Node, real: Array, scale: Array, what: str, changes: Changes
) -> None:
    """Put weights [out, ...] on a grid with one scale for each output channel."""
    axis = _output_axis(node, real.ndim)
    first = Parameters(scale.astype(np.float32), np.zeros(scale.shape, np.int8), 0)
    integers = np.clip(first.quantize(real.astype(np.float32)), -LIMIT, LIMIT)
    after = Parameters(first.scale, first.zero_point, axis)
    _replace(graph, node, np.moveaxis(integers, 0, axis), after)
    changes.note(what, node.name, _size(real, integers, first), exact=False)


def _breaks_pair_rule(node: ir.Node, integers: Array) -> bool:
    first = _output_first(node, integers)
    return _is_summed_in_pairs(node, first) and largest_pairs(first).max(initial=0) > PAIR_MAX


def _is_summed_in_pairs(node: ir.Node, weight: Array) -> bool:
    """Whether integer kernels add its products in pairs: not depthwise, not transposed ones."""
    if node.op_type == "ConvTranspose":
        return False
    groups = node.attributes.get("group")
    depthwise = groups is not None and groups.as_int() > 1 and weight.shape[1] == 1
    return weight.ndim in (2, 4) and not depthwise


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


def _output_first(node: ir.Node, weight: Array) -> Array:
    return np.moveaxis(weight, _output_axis(node, weight.ndim), 0)


def _replace(graph: ir.Graph, node: ir.Node, integers: Array, after: Parameters) -> None:
    """Let one node read its own weight; another that shares the old one is brought by itself."""
    name = str(node.inputs[1].name)
    value = add_constant(graph, f"{name}_int8", integers)
    node.replace_input_with(1, qdq.dequantize(graph, node, value, after, f"{name}_symmetric"))
