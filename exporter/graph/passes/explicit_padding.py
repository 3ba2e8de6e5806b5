"""Padding in numbers: auto_pad, and windows that reach beyond the input, become explicit pads.

- auto_pad SAME_UPPER and SAME_LOWER: ONNX's formula, in all
  max((ceil(size / stride) - 1) * stride + reach - size, 0), the odd one at the end or at the
  beginning. VALID: none.
- An average that counts its padding: a Pad in front.
- An average that leaves padding out, where TFLite cannot: Pad, average over all, and a product with
  window / (values that count), a constant for each place.

Requires: fixed shapes; 2-D.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph.onnx_edit import add_constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.plain_operators import replace_result

Array = np.ndarray
_PADDED = {"AveragePool", "Conv", "ConvTranspose", "MaxPool"}


def explicit_padding(model: ir.Model, changes: Changes) -> bool:
    """Write padding out; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type not in _PADDED:
            continue
        if node.op_type != "ConvTranspose" and _write_auto_pad(node):
            changes.note("auto_pad is written in numbers", node.name)
            modified = True
        if node.op_type == "AveragePool" and _average(model.graph, node):
            changes.note("an average over padding is written out", node.name)
            modified = True
    return modified


def _numbers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return default if attribute is None else [int(value) for value in attribute.value]


def _sides(value: ir.Value | None) -> list[int] | None:
    if value is None or value.shape is None:
        return None
    sizes = list(value.shape)[2:]
    fixed = [int(size) for size in sizes if isinstance(size, int)]
    return fixed if len(fixed) == len(sizes) else None


def _kernel(node: ir.Node) -> list[int]:
    given = _numbers(node, "kernel_shape", [])
    return given or _sides(node.inputs[1]) or []


def _write_auto_pad(node: ir.Node) -> bool:
    attribute = node.attributes.get("auto_pad")
    mode = "NOTSET" if attribute is None else str(attribute.value)
    sides, kernel = _sides(node.inputs[0]), _kernel(node)
    if mode == "NOTSET" or sides is None or len(kernel) != len(sides):
        return False
    ones = [1] * len(sides)
    strides, dilations = _numbers(node, "strides", ones), _numbers(node, "dilations", ones)
    before, after = [], []
    for size, window, stride, dilation in zip(sides, kernel, strides, dilations, strict=True):
        reach = (window - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0) if mode != "VALID" else 0
        small, large = total // 2, total - total // 2
        before.append(large if mode == "SAME_LOWER" else small)
        after.append(small if mode == "SAME_LOWER" else large)
    node.attributes.pop("auto_pad")
    node.attributes["pads"] = ir.AttrInt64s("pads", before + after)
    return True


def _average(graph: ir.Graph, node: ir.Node) -> bool:
    sides, result = _sides(node.inputs[0]), _sides(node.outputs[0])
    if sides is None or result is None or len(sides) != 2:
        return False
    kernel, strides = _kernel(node), _numbers(node, "strides", [1, 1])
    dilations = _numbers(node, "dilations", [1, 1])
    pads = _numbers(node, "pads", [0, 0, 0, 0])
    # ceil_mode: the last window may reach beyond the padded input.
    ends = [
        max(pads[2 + i], (result[i] - 1) * strides[i] + kernel[i] - sides[i] - pads[i])
        for i in (0, 1)
    ]
    counted = node.attributes.get("count_include_pad")
    include = counted is not None and bool(counted.value)
    same = ends == pads[2:]
    if (
        dilations != [1, 1]
        or (not any(pads) and same)
        or (not include and same and _is_same(sides, kernel, strides, pads))
    ):
        return False
    shares = [
        _share(
            sides[i],
            kernel[i],
            strides[i],
            pads[i],
            pads[2 + i] if include else 0,
            result[i],
            include=include,
        )
        for i in (0, 1)
    ]
    _write_average(graph, node, [pads[0], pads[1], *ends], np.outer(*shares))
    return True


def _is_same(sides: list[int], kernel: list[int], strides: list[int], pads: list[int]) -> bool:
    from exporter.tflite.layout import same_padding

    wanted = [same_padding(sides[i], kernel[i], strides[i]) for i in (0, 1)]
    return wanted == [(pads[0], pads[2]), (pads[1], pads[3])]


def _share(
    size: int, kernel: int, stride: int, before: int, after: int, count: int, *, include: bool
) -> Array:
    """Window / values that count, at each place along one axis."""
    starts = np.arange(count) * stride - before
    low, high = (-before, size + after) if include else (0, size)
    held = np.minimum(starts + kernel, high) - np.maximum(starts, low)
    share: Array = kernel / held
    return share


def _write_average(graph: ir.Graph, node: ir.Node, pads: list[int], shares: Array) -> None:
    source, name = node.inputs[0], str(node.outputs[0].name)
    top, left, bottom, right = pads
    amounts = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    padded = insert_before(
        graph, node, "Pad", [source, add_constant(graph, f"{name}_pads", amounts)], f"{name}_padded"
    )
    padded.dtype = source.dtype
    batch, channels, height, width = source.shape
    padded.shape = ir.Shape([batch, channels, height + top + bottom, width + left + right])
    kept = {
        key: node.attributes[key] for key in ("kernel_shape", "strides") if key in node.attributes
    }
    value = insert_before(graph, node, "AveragePool", [padded], f"{name}_averaged")
    value.shape, value.dtype = node.outputs[0].shape, node.outputs[0].dtype
    producer = value.producer()
    if producer is not None:
        producer.attributes.update(kept)
    if not np.allclose(shares, 1.0):
        factor = add_constant(graph, f"{name}_shares", shares.astype(np.float32)[None, None])
        value = insert_before(graph, node, "Mul", [value, factor], f"{name}_corrected")
    replace_result(graph, node, value)
