"""Resizing to a size → by a factor; from one pixel → expand; pixel unshuffle → convolution.

Resizing to the nearest pixel → the rows and columns that PyTorch takes, by their positions, where
the runtimes' float32 would take others.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import GraphModule, Node

from exporter.quantize.edit import ATEN, add_parameter, argument, calls, insert, remove, shape_of

_UPSAMPLES = (ATEN.upsample_nearest2d.vec, ATEN.upsample_bilinear2d.vec)


def lower_resizing(graph_module: GraphModule) -> int:
    """Rewrite a graph in place; return how many nodes were changed."""
    count = 0
    for node in calls(graph_module, *_UPSAMPLES):
        count += _upsample(graph_module, node)
    for node in calls(graph_module, ATEN.pixel_unshuffle.default):
        count += _unshuffle(graph_module, node)
    return count


def _upsample(graph_module: GraphModule, node: Node) -> int:
    source, shape = node.args[0], shape_of(node)
    size = shape_of(source)[2:]
    if size == shape[2:]:
        remove(graph_module, node, source)
        return 1
    if size == (1, 1):
        sizes = [-1, -1, *shape[2:]]
        whole = insert(graph_module, node, ATEN.expand.default, source, sizes, shape=shape)
        remove(graph_module, node, whole)
        return 1
    if node.target is ATEN.upsample_nearest2d.vec and _pick(graph_module, node):
        return 1
    if argument(node, 1) is None:
        return 0
    factors = [_factor(have, want) for have, want in zip(size, shape[2:], strict=True)]
    node.args = (source, None, *node.args[2:-1], factors)
    return 1


def _pick(graph_module: GraphModule, node: Node) -> bool:
    """Resizing to the nearest pixel by positions, where the runtimes part; whether they do."""
    source, shape = node.args[0], shape_of(node)
    height, width = shape_of(source)[2:]
    pixels = torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)
    taken = node.target(pixels, *node.args[1:])[0, 0].long()
    rows, columns = taken[:, 0] // width, taken[0] % width
    factors = argument(node, 2) or map(_factor, (height, width), shape[2:])
    if all(map(_runtimes_take, (rows, columns), (height, width), factors)):
        return False
    result = source
    for axis, positions in ((2, rows), (3, columns)):
        index = add_parameter(
            graph_module, f"{node.name}_axis{axis}", positions, node, trains=False
        )
        sizes = (*shape_of(result)[:axis], len(positions), *shape_of(result)[axis + 1 :])
        result = insert(
            graph_module, node, ATEN.index_select.default, result, axis, index, shape=sizes
        )
    remove(graph_module, node, result)
    return True


def _runtimes_take(positions: torch.Tensor, have: int, factor: float) -> bool:
    """Whether ONNX Runtime, by the factor, and LiteRT, by the size, take these positions."""
    want = len(positions)
    places = np.arange(want, dtype=np.float32)
    onnx = np.floor(places / np.float32(factor))
    tflite = np.floor(places * (np.float32(have) / np.float32(want)))
    found = np.minimum([onnx, tflite], have - 1)
    return bool((found == positions.numpy()).all())


def _factor(have: int, want: int) -> float:
    """A float32 factor whose product with `have`, rounded down, is `want`.

    Exactly, as onnx's shape inference takes the product, and in float32, as ONNX Runtime does.
    """
    factor = np.float32(want) / np.float32(have)
    while int(float(factor) * have) < want:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)


def _unshuffle(graph_module: GraphModule, node: Node) -> int:
    """Pixel unshuffle → depthwise convolution that picks one pixel for each output channel."""
    source, step = node.args
    channels = shape_of(source)[1]
    picks = torch.eye(step * step).reshape(step * step, 1, step, step).repeat(channels, 1, 1, 1)
    weight = add_parameter(graph_module, f"{node.name}_weight", picks, node, trains=False)
    arguments = (source, weight, None, [step, step], [0, 0], [1, 1], channels)
    result = insert(graph_module, node, ATEN.conv2d.default, *arguments, shape=shape_of(node))
    remove(graph_module, node, result)
    return 1
