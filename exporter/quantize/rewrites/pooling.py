"""Average pooling → mean, a depthwise convolution of equal weights, repeated values.

Both runtimes compute a convolution alike, and an average pooling not (facts: 12 % of values differ
at 2x2); the convolution is also the faster one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.edit import ATEN, add_parameter, argument, calls, insert, remove, shape_of


def lower_pooling(graph_module: GraphModule) -> int:
    """Rewrite adaptive and average pooling where it is exact; return how many."""
    count = 0
    for node in calls(graph_module, ATEN.adaptive_avg_pool2d.default):
        count += _adaptive(graph_module, node)
    for node in calls(graph_module, ATEN.avg_pool2d.default):
        count += _average(graph_module, node)
    return count


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, (list, tuple)):
        numbers = [int(item) for item in value]
        return (numbers[0], numbers[-1])
    return (int(value), int(value))  # type: ignore[call-overload]


def _adaptive(graph_module: GraphModule, node: Node) -> int:
    """To 1x1: a mean. Equal windows: average pooling. To a multiple: repeated values."""
    source = node.args[0]
    size, target = shape_of(source)[2:], _pair(node.args[1])
    if target == size:
        remove(graph_module, node, source)
        return 1
    if target == (1, 1):
        mean = insert(graph_module, node, ATEN.mean.dim, source, [2, 3], True, shape=shape_of(node))
        remove(graph_module, node, mean)
        return 1
    windows = [_window(have, want) for have, want in zip(size, target, strict=True)]
    equal = [one for one in windows if one is not None]
    if len(equal) < len(windows):
        return 0
    kernel, stride = map(list, zip(*equal, strict=True))
    result = source
    if kernel != [1, 1]:
        result = _equal_weights(graph_module, node, source, kernel, stride, [0, 0])
    if shape_of(result) != shape_of(node):
        whole = list(target)
        resize = ATEN.upsample_nearest2d.vec
        result = insert(graph_module, node, resize, result, whole, None, shape=shape_of(node))
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
    sides = [
        (have + 2 * margin - window) // step + 1
        for have, margin, window, step in zip(size, padding, kernel, stride, strict=True)
    ]
    share = 1.0 / (kernel[0] * kernel[1] if divisor is None else divisor)
    ones = torch.full((channels, 1, *kernel), share)
    weight = add_parameter(graph_module, f"{node.name}_weight", ones, node, trains=False)
    arguments = (source, weight, None, stride, padding, [1, 1], channels)
    shape = (batch, channels, *sides)
    return insert(graph_module, node, ATEN.conv2d.default, *arguments, shape=shape)
