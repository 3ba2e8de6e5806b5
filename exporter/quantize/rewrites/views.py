"""Views become `reshape` with fixed sizes but for the batch; selections become slices.

After this pass the operators that only move values are: reshape, permute, slice, cat, expand,
index_select, pad, max pooling, nearest resizing, pixel shuffle and unshuffle.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.edit import (
    ATEN,
    argument,
    insert,
    parameter_of,
    remove,
    shape_of,
    sizes_for_view,
    view,
)


def lower_views(graph_module: GraphModule) -> None:
    """Rewrite a functional graph in place; its nodes carry shapes."""
    for node in list(graph_module.graph.nodes):
        rewrite = VIEWS.get(node.target) if node.op == "call_function" else None
        if rewrite is not None:
            rewrite(graph_module, node)


def _reshaped(graph_module: GraphModule, node: Node) -> None:
    """Any reshape → view(-1, fixed sizes)."""
    shape = shape_of(node)
    source = shape_of(node.args[0])
    if shape == source:
        remove(graph_module, node, node.args[0])
        return
    target, sizes = ATEN.reshape.default, sizes_for_view(shape)
    _replace(graph_module, node, insert(graph_module, node, target, node.args[0], sizes), shape)


def _select(graph_module: GraphModule, node: Node) -> None:
    """x.select(axis, i) → slice → view."""
    source, axis, index = node.args
    shape = shape_of(source)
    axis, index = axis % len(shape), index % shape[axis]
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    part = _slice(graph_module, node, source, axis, index, index + 1, kept)
    remove(graph_module, node, view(graph_module, node, part, shape_of(node)))


def _split(graph_module: GraphModule, node: Node) -> None:
    """Chunks and splits → one slice for each part that is used."""
    axis = argument(node, 2, 0)
    source = node.args[0]
    shape = shape_of(source)
    axis %= len(shape)
    sizes = [int(part.shape[axis]) for part in node.meta["val"]]
    for user in list(node.users):
        if user.target is not operator.getitem:
            continue
        index = user.args[1]
        start = sum(sizes[:index])
        kept = (*shape[:axis], sizes[index], *shape[axis + 1 :])
        part = _slice(graph_module, user, source, axis, start, start + sizes[index], kept)
        remove(graph_module, user, part)
    graph_module.graph.erase_node(node)


def _unbind(graph_module: GraphModule, node: Node) -> None:
    """x.unbind(axis) → a slice and a view for each part that is used."""
    source = node.args[0]
    shape = shape_of(source)
    axis = argument(node, 1, 0) % len(shape)
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    for user in list(node.users):
        part = _slice(graph_module, user, source, axis, user.args[1], user.args[1] + 1, kept)
        rest = (*shape[:axis], *shape[axis + 1 :])
        remove(graph_module, user, view(graph_module, user, part, rest))
    graph_module.graph.erase_node(node)


def _stack(graph_module: GraphModule, node: Node) -> None:
    """Stack → views with a new axis → cat."""
    shape = shape_of(node)
    axis = argument(node, 1, 0) % len(shape)
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    views = [view(graph_module, node, part, one) for part in node.args[0]]
    joined = insert(graph_module, node, ATEN.cat.default, views, axis)
    _replace(graph_module, node, joined, shape)


def _slice(
    graph_module: GraphModule,
    before: Node,
    source: Node,
    axis: int,
    start: int,
    end: int,
    shape: tuple[int, ...],
) -> Node:
    return insert(graph_module, before, ATEN.slice.Tensor, source, axis, start, end, 1, shape=shape)


def _repeat(graph_module: GraphModule, node: Node) -> None:
    """x.repeat(...) → cat of x with itself, axis by axis."""
    result = node.args[0]
    shape = list(shape_of(result))
    times = list(node.args[1])
    if times[: len(times) - len(shape)].count(1) != len(times) - len(shape):
        return
    for axis, count in enumerate(times[len(times) - len(shape) :]):
        if count != 1:
            shape[axis] *= count
            parts = [result] * count
            result = insert(graph_module, node, ATEN.cat.default, parts, axis, shape=shape)
    remove(graph_module, node, view(graph_module, node, result, shape_of(node)))


def _narrow(graph_module: GraphModule, node: Node) -> None:
    """x.narrow(axis, start, length) → slice."""
    source, axis, start, length = node.args
    shape = shape_of(source)
    axis, start = axis % len(shape), start % shape[axis]
    end, kept = start + length, shape_of(node)
    remove(graph_module, node, _slice(graph_module, node, source, axis, start, end, kept))


def _whole_slice(graph_module: GraphModule, node: Node) -> None:
    """A slice that takes everything goes."""
    if shape_of(node) == shape_of(node.args[0]) and argument(node, 4, 1) == 1:
        remove(graph_module, node, node.args[0])


def _transpose(graph_module: GraphModule, node: Node) -> None:
    """Transpose → permute."""
    rank = len(shape_of(node))
    order = list(range(rank))
    one, other = (argument(node, 1, 0) % rank, argument(node, 2, 1) % rank)
    order[one], order[other] = order[other], order[one]
    permuted = insert(graph_module, node, ATEN.permute.default, node.args[0], order)
    _replace(graph_module, node, permuted, shape_of(node))


def _largest(graph_module: GraphModule, node: Node) -> None:
    """x.max(axis) → amax and argmax."""
    arguments = (node.args[0], argument(node, 1), argument(node, 2, False))
    for user in list(node.users):
        if user.target is not operator.getitem:
            continue
        if user.args[1] == 0:
            axes = [arguments[1]]
            part = insert(graph_module, user, ATEN.amax.default, arguments[0], axes, arguments[2])
        else:
            part = insert(graph_module, user, ATEN.argmax.default, *arguments)
        _replace(graph_module, user, part, shape_of(user))
    if not node.users:
        graph_module.graph.erase_node(node)


def _index(graph_module: GraphModule, node: Node) -> None:
    """x[:, [2, 0]] → index_select, where one axis is indexed by a constant."""
    given = [(axis, index) for axis, index in enumerate(node.args[1]) if index is not None]
    if len(given) != 1 or parameter_of(graph_module, given[0][1]) is None:
        return
    axis, index = given[0]
    picked = insert(graph_module, node, ATEN.index_select.default, node.args[0], axis, index)
    _replace(graph_module, node, picked, shape_of(node))


def _channel_shuffle(graph_module: GraphModule, node: Node) -> None:
    """Channel shuffle → view, permute, view."""
    source, groups = node.args
    batch, channels, height, width = shape_of(source)
    apart = (batch, groups, channels // groups, height, width)
    moved = (batch, channels // groups, groups, height, width)
    grouped = view(graph_module, node, source, apart)
    order = [0, 2, 1, 3, 4]
    swapped = insert(graph_module, node, ATEN.permute.default, grouped, order, shape=moved)
    remove(graph_module, node, view(graph_module, node, swapped, shape_of(node)))


def _replace(
    graph_module: GraphModule, node: Node, replacement: Node, shape: tuple[int, ...]
) -> None:
    replacement.meta["val"] = torch.empty(shape, device="meta")
    remove(graph_module, node, replacement)


VIEWS: dict[Any, Callable[[GraphModule, Node], None]] = {
    ATEN.flatten.using_ints: _reshaped,
    ATEN.view.default: _reshaped,
    ATEN.reshape.default: _reshaped,
    ATEN.unflatten.int: _reshaped,
    ATEN.squeeze.dim: _reshaped,
    ATEN.squeeze.dims: _reshaped,
    ATEN.squeeze.default: _reshaped,
    ATEN.unsqueeze.default: _reshaped,
    ATEN.select.int: _select,
    ATEN.chunk.default: _split,
    ATEN.split.Tensor: _split,
    ATEN.split_with_sizes.default: _split,
    ATEN.unbind.int: _unbind,
    ATEN.stack.default: _stack,
    ATEN.narrow.default: _narrow,
    ATEN.repeat.default: _repeat,
    ATEN.slice.Tensor: _whole_slice,
    ATEN.transpose.int: _transpose,
    ATEN.t.default: _transpose,
    ATEN.numpy_T.default: _transpose,
    ATEN.max.dim: _largest,
    ATEN.index.Tensor: _index,
    ATEN.channel_shuffle.default: _channel_shuffle,
}
