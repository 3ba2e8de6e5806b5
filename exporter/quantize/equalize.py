"""Cross-layer equalization: the channels of a value get ranges alike, by scaling layers around it.

A value's channels share one int8 scale, so a channel whose values are small has few steps. Between
layers whose outputs scale with their inputs, channel i may be multiplied by t_i if the layers that
give it multiply their rows by t_i and those that read it divide their columns (Nagel et al.,
arXiv:1906.04721, §4.1). That is exact in real numbers, whatever t is, through ReLU, pooling, and
additions that hold all their branches together; so a residual trunk is scaled as a whole.

The factors weigh the range of a channel's values against that of the columns that read it, which
get coarser as values get finer (Xiao et al., arXiv:2211.10438, §4, with their exponent). A
depthwise layer has a scale for each column, so nothing weighs against the values there.

A capped activation (ReLU6) does not scale: relu6(t x) is t x only up to 6 / t. There t_i is chosen
such that the largest value of the channel that calibration saw stays within the cap; what is
larger is cut at 6 / t_i, as a calibrated range cuts it. Channels that reach the cap stay as they
are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import torch
from torch.fx import GraphModule, Interpreter, Node

from exporter.quantize import roles
from exporter.quantize.channel_classes import ChannelClass, channel_classes, is_depthwise
from exporter.quantize.edit import argument, parameter_of, set_parameter, weight_of
from exporter.quantize.fold import Grids

STRENGTH: Final = 0.75
"""Of the exponent: 1 makes the ranges of values equal, 0 those of the columns that read them."""

LARGEST_FACTOR: Final = 32.0
SMALLEST_GAIN: Final = 1.05
"""Classes whose factors all lie within this are left alone."""


class _Extremes(Interpreter):
    """Keeps the largest magnitude of each channel of some nodes."""

    def __init__(self, graph_module: GraphModule, wanted: set[Node]) -> None:
        super().__init__(graph_module)
        self.wanted = wanted
        self.largest: dict[Node, torch.Tensor] = {}

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        if n in self.wanted and isinstance(result, torch.Tensor):
            flat = result.flatten(2) if result.dim() > 2 else result.unsqueeze(2)
            largest = torch.maximum(flat.amax((0, 2)), -flat.amin((0, 2)))
            known = self.largest.get(n)
            self.largest[n] = largest if known is None else torch.maximum(known, largest)
        return result


@torch.no_grad()
def equalize(
    graph_module: GraphModule,
    batches: Iterable[torch.Tensor],
    grids: Grids | None = None,
    *,
    strength: float = STRENGTH,
) -> dict[str, torch.Tensor]:
    """Equalize the channels of every value that can be, in place.

    Args:
        graph_module: a folded graph, before a plan is made of it.
        batches: inputs [N, ...] as the graph takes them; what the caps of ReLU6 go by.
        grids: grids that weights were trained on; these weights stay.
        strength: in [0, 1], see `STRENGTH`.

    Returns:
        For the weights of layers whose outputs were scaled, by name: the factors, float32 [C].
    """
    classes = channel_classes(graph_module, grids or {}, "scale")
    quantized = {value for c in classes for value in c.values if not _is_fused(value)}
    extremes = _Extremes(graph_module, quantized)
    for batch in batches:
        extremes.run(batch)
    changed = {}
    for channel_class in classes:
        factors = _factors(graph_module, channel_class, extremes.largest, strength)
        if float(factors.log().abs().max()) > math.log(SMALLEST_GAIN):
            _scale(graph_module, channel_class, factors)
            givers = channel_class.producers
            changed.update({str(giver.args[1].target): factors for giver in givers})
    return changed


def _is_fused(value: Node) -> bool:
    """Whether a value is never quantized, as its one reader is a ReLU that is fused with it."""
    users = list(value.users)
    return value.target in roles.FUSABLE and len(users) == 1 and roles.starts_at_zero(users[0])


def _factors(
    graph_module: GraphModule,
    channel_class: ChannelClass,
    largest: dict[Node, torch.Tensor],
    strength: float,
) -> torch.Tensor:
    """The factors t, float32 [C]."""
    own = [largest[value] for value in channel_class.values if value in largest]
    # Each quantized value has a scale of its own: a channel counts where it is largest within one.
    shares = torch.stack([one / one.max().clamp_min(1e-30) for one in own]).amax(0)
    dead = shares < 1e-6
    shares = shares.clamp_min(1.0 / LARGEST_FACTOR**2)
    columns, weighs = torch.zeros_like(shares), False
    for consumer in channel_class.consumers:
        weight = weight_of(graph_module, consumer)
        if not is_depthwise(consumer, weight):
            column = weight.transpose(0, 1).flatten(1).abs().amax(1)
            columns, weighs = torch.maximum(columns, column / column.max().clamp_min(1e-30)), True
    exponent = strength if weighs else 1.0
    factors = shares**-exponent
    if weighs:
        factors = factors * columns.clamp_min(1.0 / LARGEST_FACTOR**2) ** (1.0 - exponent)
    factors = factors / (factors * shares).max()  # the tensor's range stays
    if math.isfinite(channel_class.cap):
        peak = torch.stack(own).amax(0)
        reached = peak >= channel_class.cap
        room = channel_class.cap / peak.clamp_min(1e-30)
        factors = torch.where(reached, 1.0, torch.minimum(factors, room))
    factors = factors.clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    return torch.where(dead, 1.0, factors)


def _scale(graph_module: GraphModule, channel_class: ChannelClass, factors: torch.Tensor) -> None:
    for producer in channel_class.producers:
        weight = weight_of(graph_module, producer)
        by_row = factors.reshape(-1, *(1,) * (weight.dim() - 1))
        set_parameter(graph_module, str(producer.args[1].target), weight * by_row)
        bias = argument(producer, 2)
        if bias is not None:
            value = parameter_of(graph_module, bias)
            set_parameter(graph_module, str(bias.target), value * factors)
    for consumer in channel_class.consumers:
        weight = weight_of(graph_module, consumer)
        shape = (-1, 1, 1, 1) if is_depthwise(consumer, weight) else (1, -1, 1, 1)
        by_column = factors.reshape(shape[: weight.dim()])
        set_parameter(graph_module, str(consumer.args[1].target), weight / by_column)
