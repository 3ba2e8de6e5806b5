"""Group norm and instance norm → instance norm of [N, groups, values] or of images.

Wu and He, arXiv:1803.08494: each group of channels is normalised by its own mean and variance; the
factor and shift of each channel become a depthwise 1x1 convolution behind it. One channel a group
is instance norm, whose operator takes factor and shift itself.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.edit import (
    ATEN,
    add_parameter,
    argument,
    calls,
    insert,
    parameter_of,
    remove,
    shape_of,
    view,
)
from exporter.quantize.rewrites.affine import channel_affine


def lower_group_norm(graph_module: GraphModule) -> int:
    """Rewrite every group norm, and give every instance norm its factor and shift; how many."""
    groups = calls(graph_module, ATEN.group_norm.default)
    for node in groups:
        _from_groups(graph_module, node)
    count = len(groups)
    for node in calls(graph_module, ATEN.instance_norm.default):
        count += _complete(graph_module, node)
    return count


def running_instance_norm(graph_module: GraphModule) -> int:
    """Instance norm with running statistics is a batch norm in evaluation; return how many."""
    nodes = [
        node
        for node in calls(graph_module, ATEN.instance_norm.default)
        if not argument(node, 5, True)
    ]
    for node in nodes:
        source, factor, shift, mean, variance = node.args[:5]
        arguments = (source, factor, shift, mean, variance, False, 0.0, argument(node, 7, 1e-5))
        shape = shape_of(node)
        result = insert(graph_module, node, ATEN.batch_norm.default, *arguments, False, shape=shape)
        remove(graph_module, node, result)
    return len(nodes)


def _from_groups(graph_module: GraphModule, node: Node) -> None:
    source, groups = node.args[0], int(node.args[1])
    shape, epsilon = shape_of(node), argument(node, 4, 1e-5)
    factor, shift = (_values(graph_module, node, index) for index in (2, 3))
    channels = shape[1]
    apart = shape if groups == channels else (shape[0], groups, _count(shape) // groups)
    data = view(graph_module, node, source, apart)
    ones, zeros = torch.ones(groups), torch.zeros(groups)
    if groups == channels:
        ones, zeros = (
            given if given is not None else plain
            for given, plain in ((factor, ones), (shift, zeros))
        )
        factor = shift = None
    normal = _instance_norm(graph_module, node, data, ones, zeros, epsilon, apart)
    result = view(graph_module, node, normal, shape)
    if factor is not None or shift is not None:
        factor = torch.ones(channels) if factor is None else factor
        result = channel_affine(graph_module, node, result, factor, shift)
    remove(graph_module, node, result)


def _complete(graph_module: GraphModule, node: Node) -> int:
    """Write the factor and shift of an instance norm out where it has none."""
    if node.args[1] is not None:
        return 0
    channels, shape = shape_of(node)[1], shape_of(node)
    arguments = (torch.ones(channels), torch.zeros(channels), argument(node, 7, 1e-5))
    remove(graph_module, node, _instance_norm(graph_module, node, node.args[0], *arguments, shape))
    return 1


def _instance_norm(
    graph_module: GraphModule,
    before: Node,
    source: Node,
    factor: torch.Tensor,
    shift: torch.Tensor,
    epsilon: float,
    shape: tuple[int, ...],
) -> Node:
    constants = [
        add_parameter(graph_module, f"{before.name}_{key}", value, before, trains=False)
        for key, value in (("factor", factor), ("shift", shift))
    ]
    arguments = (source, *constants, None, None, True, 0.0, epsilon, False)
    return insert(graph_module, before, ATEN.instance_norm.default, *arguments, shape=shape)


def _values(graph_module: GraphModule, node: Node, index: int) -> torch.Tensor | None:
    given = argument(node, index)
    if given is None:
        return None
    value = parameter_of(graph_module, given)
    if value is None:
        raise UnsupportedError(
            node.name, "group_norm", "its factor or shift is computed", "use constants"
        )
    return value.detach()


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape[1:]:
        count *= size
    return count
