"""Average pooling → mean, or a depthwise convolution of equal weights.

Both runtimes compute a convolution alike, and an average pooling not (facts: 12 % of values differ
at 2x2); the convolution is also the faster one.
"""

from __future__ import annotations

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
    """To 1x1: a mean. To its own size: nothing. To a divisor: average pooling."""
    source = node.args[0]
    size, target = shape_of(source)[2:], _pair(node.args[1])
    if target == size:
        remove(graph_module, node, source)
        return 1
    if target == (1, 1):
        mean = insert(graph_module, node, ATEN.mean.dim, source, [2, 3], True, shape=shape_of(node))
        remove(graph_module, node, mean)
        return 1
    if any(have % want for have, want in zip(size, target, strict=True)):
        return 0
    kernel = [have // want for have, want in zip(size, target, strict=True)]
    pooled = _equal_weights(graph_module, node, source, kernel, kernel, [0, 0])
    remove(graph_module, node, pooled)
    return 1


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
    channels = shape_of(source)[1]
    share = 1.0 / (kernel[0] * kernel[1] if divisor is None else divisor)
    ones = torch.full((channels, 1, *kernel), share)
    weight = add_parameter(graph_module, f"{node.name}_weight", ones, node, trains=False)
    arguments = (source, weight, None, stride, padding, [1, 1], channels)
    return insert(graph_module, node, ATEN.conv2d.default, *arguments, shape=shape_of(node))
