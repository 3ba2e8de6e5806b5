"""factor * x + shift per channel, as a depthwise 1x1 convolution."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.edit import (
    ATEN,
    BATCH,
    add_parameter,
    finish_edit,
    insert,
    shape_of,
    view,
)


def affine_input(graph_module: GraphModule, factor: torch.Tensor, shift: torch.Tensor) -> None:
    """Let the graph take r where it took factor * r + shift, by one operator more at its entrance.

    For networks whose first operator is no plain convolution; `fold_input_affine` is for those.

    Args:
        graph_module: a graph with one input.
        factor: float32 [in].
        shift: float32 [in].
    """
    source = next(node for node in graph_module.graph.nodes if node.op == "placeholder")
    readers = [node for node in graph_module.graph.nodes if node in source.users]
    scaled = channel_affine(graph_module, readers[0], source, factor, shift)
    for reader in readers:
        reader.replace_input_with(source, scaled)
    finish_edit(graph_module)


def channel_affine(
    graph_module: GraphModule,
    before: Node,
    source: Node,
    factor: torch.Tensor,
    shift: torch.Tensor | None,
) -> Node:
    """Factor * x + shift per channel as a depthwise convolution.

    Args:
        graph_module: the graph.
        before: where the nodes go.
        source: [N, C] or [N, C, ...].
        factor: float32 [C].
        shift: float32 [C]; None for zeros.
    """
    shape = shape_of(source)
    channels = shape[1]
    image = shape if len(shape) == 4 else (BATCH, channels, 1, _product(shape[2:]))
    data = view(graph_module, before, source, image)
    weight = add_parameter(
        graph_module, f"{before.name}_factor", factor.reshape(-1, 1, 1, 1), before
    )
    bias = None
    if shift is not None:
        bias = add_parameter(graph_module, f"{before.name}_shift", shift, before)
    geometry = ([1, 1], [0, 0], [1, 1], channels)
    arguments = (data, weight, bias, *geometry)
    scaled = insert(graph_module, before, ATEN.conv2d.default, *arguments, shape=image)
    return view(graph_module, before, scaled, shape)


def _product(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
