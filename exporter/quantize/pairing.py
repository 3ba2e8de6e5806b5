"""The order of channels: weights of one sign that are both large are kept from being neighbours.

Two runtimes agree on every x86 CPU where no two neighbours of one sign sum to more than 128
(`exporter.graph.pairs`), which costs an output channel as much of its scale as its worst pair asks
for. Which input channels are neighbours is free wherever the layer before can give its outputs in
another order. So each large channel is given a partner that it sums to little with, over all layers
that read them; the network computes the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from torch.fx import GraphModule, Node

from exporter.graph.pairs import PAIR_MAX
from exporter.quantize.channel_classes import ChannelClass, channel_classes
from exporter.quantize.edit import argument, parameter_of, set_parameter, weight_of
from exporter.quantize.fold import Grids
from exporter.quantize.scheme import weight_scale

SMALLEST_GAIN: Final = 1.01
"""An order is left alone unless the mean square of the scales gets smaller by this."""

LARGEST: Final = 16
"""The weights of an output whose partners count."""

AT_ONCE: Final = 1 << 22
"""Sums of pairs that are looked at together: 16 MiB."""


@torch.no_grad()
def pair_channels(graph_module: GraphModule, grids: Grids | None = None) -> dict[str, torch.Tensor]:
    """Order the channels of every value that can be, in place.

    Args:
        graph_module: a folded graph, before a plan is made of it.
        grids: grids that weights were trained on; these weights stay.

    Returns:
        For the weights of layers whose outputs moved, by name: the old place of each channel,
        int64 [C].
    """
    moved = {}
    for channel_class in channel_classes(graph_module, grids or {}, "order"):
        weights = [weight_of(graph_module, consumer) for consumer in channel_class.consumers]
        order = order_of(weights)
        if order is not None:
            _move(graph_module, channel_class, order)
            givers = channel_class.producers + channel_class.passed
            moved.update({str(giver.args[1].target): order for giver in givers})
    return moved


def order_of(weights: list[torch.Tensor]) -> torch.Tensor | None:
    """The order of input channels at which layers need the smallest scales.

    Args:
        weights: of the layers that read them, [out, C] or [out, C, kh, kw].

    Returns:
        The old place of each channel, int64 [C]; None where that gains nothing.
    """
    cost = sum_of_costs(weights)
    if not bool((cost[0::2, 1::2].diagonal() > 0).any()):
        return None
    order = _partners(cost)
    before, after = (sum(_coarseness(w[:, o]) for w in weights) for o in (slice(None), order))
    return order if after * SMALLEST_GAIN < before else None


def sum_of_costs(weights: Iterable[torch.Tensor]) -> torch.Tensor:
    """How much each two channels would cost as neighbours, float32 [C, C].

    The squares of what their weights of one sign sum to above `PAIR_MAX`, over all outputs; for
    each output with its `LARGEST` weights, since only the worst of its pairs sets its scale.
    """
    total = torch.zeros(())
    for weight in weights:
        shares = _shares(weight)
        width = shares.shape[1]
        cost = shares.new_zeros((width, width))
        for rows in shares.split(max(1, AT_ONCE // (LARGEST * width))):
            sizes, channels = rows.abs().topk(min(LARGEST, width))
            # All shares are below 1, so what exceeds 1 has two weights of one sign.
            sums = rows.unsqueeze(1) * rows.gather(1, channels).sign().unsqueeze(2)
            excess = sums.add_(sizes.unsqueeze(2) - 1).clamp_min_(0).square_()
            cost.index_add_(0, channels.flatten(), excess.flatten(0, 1))
        total = total + cost + cost.T
    return total


def _shares(weight: torch.Tensor) -> torch.Tensor:
    """Weights as shares of `PAIR_MAX`, at the scales that cover them: [rows, C]."""
    scale = weight_scale(weight, pair_rule=False) * PAIR_MAX
    shares = weight / scale.reshape(-1, *(1,) * (weight.dim() - 1))
    return shares.movedim(1, -1).flatten(0, -2)


def _coarseness(weight: torch.Tensor) -> float:
    """The mean square of the scales that the pair rule asks for, over those that cover."""
    ratio = weight_scale(weight, pair_rule=True) / weight_scale(weight, pair_rule=False)
    return float(ratio.square().mean())


def _partners(cost: torch.Tensor) -> torch.Tensor:
    """Partners for all channels, the costliest first: each takes the cheapest that is left."""
    costs, taken = cost.numpy(), np.zeros(len(cost), np.float32)
    pairs = []
    for first in cost.sum(1).argsort(descending=True, stable=True).tolist():
        if taken[first]:
            continue
        taken[first] = np.inf
        second = int((costs[first] + taken).argmin())
        if taken[second]:
            break  # the last of an odd number
        taken[second] = np.inf
        pairs.append((min(first, second), max(first, second)))
    order = [channel for pair in sorted(pairs) for channel in pair]
    alone = sorted(set(range(len(cost))) - set(order))
    return torch.tensor(order + alone)


def _move(graph_module: GraphModule, channel_class: ChannelClass, order: torch.Tensor) -> None:
    for layer in channel_class.producers + channel_class.passed:
        _reorder(graph_module, layer.args[1], order, 0)
        _reorder(graph_module, argument(layer, 2), order, 0)
    for layer in channel_class.consumers:
        _reorder(graph_module, layer.args[1], order, 1)


def _reorder(graph_module: GraphModule, node: Node, order: torch.Tensor, axis: int) -> None:
    value = parameter_of(graph_module, node)
    if value is not None:
        set_parameter(graph_module, str(node.target), value.index_select(axis, order))
