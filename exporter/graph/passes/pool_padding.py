"""Pooling that rounds its size up, or names its padding, gets explicit padding.

ONNX's ceil_mode lets the last window reach beyond the padded input; as many rows of padding more
give the same windows with sizes rounded down. For means that holds where padding does not count.
"""

from __future__ import annotations

import onnx_ir as ir

_NUMBERS = {"kernel_shape": (), "strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}


def pool_padding(model: ir.Model) -> bool:
    """Make the padding of every 2-D pooling explicit; return whether anything changed."""
    modified = False
    for node in model.graph:
        if _leaves_padding_out(node) and _rounds_up(node) and _make_explicit(node):
            modified = True
    return modified


def _leaves_padding_out(node: ir.Node) -> bool:
    counted = node.attributes.get("count_include_pad")
    mean = node.op_type == "AveragePool" and (counted is None or not counted.value)
    return node.op_type == "MaxPool" or mean


def _rounds_up(node: ir.Node) -> bool:
    attribute = node.attributes.get("ceil_mode")
    return attribute is not None and bool(attribute.value)


def _numbers(node: ir.Node, name: str) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return _NUMBERS[name] if attribute is None else tuple(attribute.value)


def _make_explicit(node: ir.Node) -> bool:
    source, result = node.inputs[0].shape, node.outputs[0].shape
    if source is None or result is None or len(source) != 4:
        return False
    kernel, strides = _numbers(node, "kernel_shape"), _numbers(node, "strides")
    dilations, pads = _numbers(node, "dilations"), list(_numbers(node, "pads"))
    for axis in (0, 1):
        have, want = source[2 + axis], result[2 + axis]
        if not isinstance(have, int) or not isinstance(want, int):
            return False
        reach = (want - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        pads[2 + axis] = max(pads[2 + axis], reach - have - pads[axis])
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)
    return True
