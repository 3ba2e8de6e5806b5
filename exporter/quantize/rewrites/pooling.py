"""Average pooling → mean, a depthwise convolution of equal weights, repeated values.

Adaptive pooling of the largest → a maximum over all, pooling with fixed windows, repeated values.

Both runtimes compute a convolution alike, and an average pooling not (facts: 12 % of values differ
at 2x2); the convolution is also the faster one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.edit import ATEN, add_parameter, argument, calls, insert, remove, shape_of


def lower_pooling(graph_module: GraphModule) -> int:
    """Rewrite adaptive and average pooling where it is exact; return how many.

    Raises:
        UnsupportedError: adaptive pooling with windows of several sizes, or positions read.
    """
    count = 0
    for node in calls(graph_module, ATEN.adaptive_max_pool2d.default):
        for part in list(node.users):
            if part.args[1] == 1:
                raise UnsupportedError(
                    node.name, "adaptive_max_pool2d", "its positions are read", "use its values"
                )
            count += _adaptive(graph_module, part, node)
    for node in calls(graph_module, ATEN.adaptive_avg_pool2d.default):
        count += _adaptive(graph_module, node, node)
    for node in calls(graph_module, ATEN.avg_pool2d.default):
        count += _average(graph_module, node)
    return count


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, (list, tuple)):
        numbers = [int(item) for item in value]
        return (numbers[0], numbers[-1])
    return (int(value), int(value))  # type: ignore[call-overload]


def _adaptive(graph_module: GraphModule, node: Node, pool: Node) -> int:
    """To 1x1: over all. Equal windows: pooling with these. To a multiple: repeated values.

    `node` is the result of `pool`, or the first of its results.
    """
    largest = pool.target is ATEN.adaptive_max_pool2d.default
    source = pool.args[0]
    size, target = shape_of(source)[2:], shape_of(node)[2:]
    if target == size:
        remove(graph_module, node, source)
        return 1
    if target == (1, 1):
        over = ATEN.amax.default if largest else ATEN.mean.dim
        whole = insert(graph_module, node, over, source, [2, 3], True, shape=shape_of(node))
        remove(graph_module, node, whole)
        return 1
    windows = [_window(have, want) for have, want in zip(size, target, strict=True)]
    equal = [one for one in windows if one is not None]
    if len(equal) < len(windows):
        raise UnsupportedError(
            pool.name,
            str(pool.target).split(".")[1],
            f"its windows differ in size: {size[0]}x{size[1]} to {target[0]}x{target[1]}",
            "pool to a size that divides the input's, or to 1x1",
        )
    kernel, stride = map(list, zip(*equal, strict=True))
    result = source
    if kernel != [1, 1] and largest:
        shape = (*shape_of(source)[:2], *_sides(size, kernel, stride, [0, 0]))
        pooling = ATEN.max_pool2d.default
        result = insert(graph_module, node, pooling, source, kernel, stride, shape=shape)
    elif kernel != [1, 1]:
        result = _equal_weights(graph_module, node, source, kernel, stride, [0, 0])
    if shape_of(result) != shape_of(node):
        resize, sides = ATEN.upsample_nearest2d.vec, list(target)
        result = insert(graph_module, node, resize, result, sides, None, shape=shape_of(node))
    remove(graph_module, node, result)
    return 1


def _window(have: int, want: int) -> tuple[int, int] | None:
    """Size and stride of an axis' windows; (1, 1) where values repeat; None where sizes differ.

    Window i of `want` reaches from floor(i * have / want) to ceil((i + 1) * have / want).
    """
    if want % have == 0:
        return 1, 1
    begins = [i * have // want for i in range(want)]
    sizes = {-(-(i + 1) * have // want) - begin for i, begin in enumerate(begins)}
    strides = {after - begin for begin, after in pairwise(begins)} or {have}
    return (sizes.pop(), strides.pop()) if len(sizes) == len(strides) == 1 else None


def _average(graph_module: GraphModule, node: Node) -> int:
    """A convolution of equal weights, where all windows count alike.

    Where they do not, padding that counts is written out, so that what is left is a mean of the
    values inside alone.
    """
    kernel = list(_pair(node.args[1]))
    stride = list(_pair(argument(node, 2) or kernel))
    padding = list(_pair(argument(node, 3, 0)))
    ceil_mode, counts_padding = argument(node, 4, False), argument(node, 5, True)
    divisor = argument(node, 6)
    source = node.args[0]
    if not ceil_mode and (divisor is not None or counts_padding or not any(padding)):
        pooled = _equal_weights(graph_module, node, source, kernel, stride, padding, divisor)
        remove(graph_module, node, pooled)
        return 1
    if divisor is not None or not counts_padding:
        return 0
    if not any(padding):  # what lies beyond the input does not count, whatever this says
        node.args = (source, kernel, stride, [0, 0], ceil_mode, False)
        return 1
    batch, channels, height, width = shape_of(source)
    sides = (height + 2 * padding[0], width + 2 * padding[1])
    margins = [padding[1], padding[1], padding[0], padding[0]]
    padded = insert(
        graph_module,
        node,
        ATEN.pad.default,
        source,
        margins,
        "constant",
        0.0,
        shape=(batch, channels, *sides),
    )
    node.args = (padded, kernel, stride, [0, 0], ceil_mode, False)
    return 1


def _sides(
    size: Sequence[int], kernel: list[int], stride: list[int], padding: list[int]
) -> list[int]:
    """Height and width behind windows."""
    return [
        (have + 2 * margin - window) // step + 1
        for have, margin, window, step in zip(size, padding, kernel, stride, strict=True)
    ]


def _equal_weights(
    graph_module: GraphModule,
    node: Node,
    source: Node,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    divisor: int | None = None,
) -> Node:
    batch, channels, *size = shape_of(source)
    sides = _sides(size, kernel, stride, padding)
    share = 1.0 / (kernel[0] * kernel[1] if divisor is None else divisor)
    ones = torch.full((channels, 1, *kernel), share)
    weight = add_parameter(graph_module, f"{node.name}_weight", ones, node, trains=False)
    arguments = (source, weight, None, stride, padding, [1, 1], channels)
    shape = (batch, channels, *sides)
    return insert(graph_module, node, ATEN.conv2d.default, *arguments, shape=shape)
