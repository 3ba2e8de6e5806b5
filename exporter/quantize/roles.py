"""What each ATen operator is to quantization. To add one, give it a role here.

- compute: reads int8 values and gives a value with a scale of its own
- activation: fused into the compute operator before it, when nothing else reads that one
- share: moves or selects values; its output has the scale of its input
- join: all its inputs and its output have one scale
- index: gives positions or plain integers, which have no scale
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from exporter.build import Activations
from exporter.errors import UnsupportedError
from exporter.quantize.edit import ATEN, argument, shape_of
from exporter.quantize.scheme import ActivationScale

CONVOLUTIONS = {ATEN.conv2d.default, ATEN.conv2d.padding}
DENSE = {ATEN.linear.default}
WEIGHTED = CONVOLUTIONS | DENSE
ADDITIONS = {ATEN.add.Tensor, ATEN.sub.Tensor}
PRODUCTS = {ATEN.mul.Tensor}
MATRIX_PRODUCTS = {ATEN.matmul.default, ATEN.bmm.default}
QUOTIENTS = {ATEN.div.Tensor}
MEANS = {ATEN.mean.dim}
SUMS = {ATEN.sum.dim_IntList}
INTERPOLATIONS = {ATEN.upsample_bilinear2d.vec, ATEN.avg_pool2d.default}
NORMALIZATIONS = {ATEN.layer_norm.default, ATEN.instance_norm.default}
REQUANTIZE = ATEN.clone.default
"""Gives a value another scale; `exporter.quantize.plan` puts it where a fixed one meets others."""

POINTWISE = {
    ATEN.abs.default,
    ATEN.celu.default,
    ATEN.elu.default,
    ATEN.erf.default,
    ATEN.exp.default,
    ATEN.gelu.default,
    ATEN.hardsigmoid.default,
    ATEN.hardswish.default,
    ATEN.leaky_relu.default,
    ATEN.mish.default,
    ATEN.neg.default,
    ATEN.pow.Tensor_Scalar,
    ATEN.prelu.default,
    ATEN.reciprocal.default,
    ATEN.rsub.Scalar,
    ATEN.selu.default,
    ATEN.softplus.default,
    ATEN.sqrt.default,
    ATEN.square.default,
}
"""Functions of one value. With a number for its second operand, so are + - * / and ** ."""

PROBABILITY = ActivationScale.of(1.0 / 256.0, -128)
FIXED: dict[Any, ActivationScale] = {
    ATEN.sigmoid.default: PROBABILITY,
    ATEN.softmax.int: PROBABILITY,
    ATEN.hardsigmoid.default: PROBABILITY,
    ATEN.tanh.default: ActivationScale.of(1.0 / 128.0, 0),
}
"""Functions with bounds of their own: both runtimes have kernels for these very scales."""

WIDE_FIXED = ActivationScale.of(1.0 / 32768.0, 0, "int16")
"""The same in int16, for all of them: what LiteRT's kernels ask for."""


def fixed_scale(target: Any, kind: Activations) -> ActivationScale | None:
    """The scale of a function with bounds of its own; None for others."""
    scale = FIXED.get(target)
    return scale if scale is None or kind == "int8" else WIDE_FIXED


COMPUTE = (
    WEIGHTED
    | ADDITIONS
    | PRODUCTS
    | MATRIX_PRODUCTS
    | QUOTIENTS
    | MEANS
    | SUMS
    | INTERPOLATIONS
    | NORMALIZATIONS
    | POINTWISE
    | set(FIXED)
    | {REQUANTIZE}
)
FUSABLE = WEIGHTED | ADDITIONS | PRODUCTS
ACTIVATIONS = {ATEN.relu.default, ATEN.hardtanh.default, ATEN.relu6.default, ATEN.clamp.default}
SHARE = {
    ATEN.amax.default,
    ATEN.amin.default,
    ATEN.expand.default,
    ATEN.index_select.default,
    ATEN.max_pool2d.default,
    ATEN.pad.default,
    ATEN.permute.default,
    ATEN.pixel_shuffle.default,
    ATEN.slice.Tensor,
    ATEN.topk.default,
    ATEN.upsample_nearest2d.vec,
    ATEN.reshape.default,
}
JOIN = {ATEN.cat.default, ATEN.minimum.default, ATEN.maximum.default}
INDEX = {ATEN.argmax.default, ATEN.argmin.default, ATEN.to.dtype, ATEN.sym_size.int}


def check_supported(node: Node) -> None:
    """Refuse an operator that has no role, or a form of one that the canonical graph lacks.

    Raises:
        UnsupportedError: with the node's name, the reason and what to do.
    """
    known = COMPUTE | ACTIVATIONS | SHARE | JOIN | INDEX
    if node.target not in known and not is_part(node):
        supported = ", ".join(sorted({_short(target) for target in known}))
        raise UnsupportedError(
            node.name,
            _short(node.target),
            "this operator has no int8 form yet",
            f"replace it in the model by operators among: {supported}",
        )
    check = _CHECKS.get(node.target)
    reason, remedy = check(node) if check is not None else ("", "")
    if reason:
        raise UnsupportedError(node.name, _short(node.target), reason, remedy)


def is_part(node: Node) -> bool:
    """Whether it takes one result of an operator that has several."""
    return getattr(node.target, "__name__", "") == "getitem"


def is_index(node: Node) -> bool:
    """Whether a node gives plain integers: positions, sizes, casts."""
    if node.target in INDEX:
        return True
    return is_part(node) and bool(node.args[0].target is ATEN.topk.default and node.args[1] == 1)


def is_pointwise(node: Node) -> bool:
    """Whether a node is a function of one value."""
    if node.target in POINTWISE or node.target is REQUANTIZE or node.target in FIXED:
        return node.target is not ATEN.softmax.int
    arithmetic = ADDITIONS | PRODUCTS | QUOTIENTS
    return node.target in arithmetic and not all(isinstance(arg, Node) for arg in node.args[:2])


def clip_range(node: Node) -> tuple[float, float]:
    """The smallest and largest value that an activation lets through."""
    if node.target is ATEN.relu.default:
        return 0.0, math.inf
    if node.target is ATEN.relu6.default:
        return 0.0, 6.0
    missing = (-1.0, 1.0) if node.target is ATEN.hardtanh.default else (-math.inf, math.inf)
    low, high = argument(node, 1, missing[0]), argument(node, 2, missing[1])
    return float(low), float(high)


def starts_at_zero(node: Node) -> bool:
    """Whether an activation is a ReLU, capped or not: saturation can do its work."""
    return node.target in ACTIVATIONS and clip_range(node)[0] == 0.0


def reduced_count(node: Node) -> int:
    """How many values each mean or sum is taken over."""
    shape = shape_of(node.args[0])
    count = 1
    for axis in reduced_axes(node):
        count *= shape[axis]
    return count


def reduced_axes(node: Node) -> list[int]:
    """The axes that a mean or sum is taken over, counted from the first."""
    rank = len(shape_of(node.args[0]))
    axes: Any = argument(node, 1) or range(rank)
    return [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]


def _short(target: object) -> str:
    return str(target).removeprefix("aten.").split(".", maxsplit=1)[0]


def _keeps_batch(node: Node) -> tuple[str, str]:
    if 0 in reduced_axes(node):
        return "it goes over the batch", "reduce over the other axes"
    return "", ""


def _window_is_plain(node: Node) -> tuple[str, str]:
    if argument(node, 6) is not None:
        return "it rounds sizes up and has a divisor of its own", "leave one of the two out"
    return "", ""


def _only_last_axis(node: Node) -> tuple[str, str]:
    if len(argument(node, 1)) != 1:
        return "it normalises over several axes", "normalise over the last axis"
    return "", ""


def _constant_index(node: Node) -> tuple[str, str]:
    if node.args[2].op != "get_attr":
        return "its positions are computed", "index with a constant"
    return "", ""


def _no_other_scale(node: Node) -> tuple[str, str]:
    if node.target is ATEN.add.Tensor and node.kwargs.get("alpha", 1) != 1:
        return "it scales its second operand", "multiply first"
    return "", ""


def _known_rounding(node: Node) -> tuple[str, str]:
    if node.args[1] is torch.float32 and is_index(node.args[0]):
        if all(user.op == "output" for user in node.users):
            return "", ""
        return "it casts positions that are computed with", "compute outside of the model"
    if node.args[1] not in (torch.int32, torch.int64):
        return f"it casts to {node.args[1]}", "cast outside of the model"
    return "", ""


_CHECKS: dict[Any, Callable[[Node], tuple[str, str]]] = {
    **dict.fromkeys(MEANS | SUMS, _keeps_batch),
    **dict.fromkeys(ADDITIONS, _no_other_scale),
    ATEN.avg_pool2d.default: _window_is_plain,
    ATEN.layer_norm.default: _only_last_axis,
    ATEN.index_select.default: _constant_index,
    ATEN.to.dtype: _known_rounding,
}
