"""What a network costs at given widths: multiply-accumulates, parameters, or measured time.

The channels of a group make up a part of a layer's outputs, of its inputs, or of both; so each
layer's cost is known from the widths of the groups, without making the narrower network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from exporter.compress.channel_groups import (
    PRUNED_TYPES,
    ChannelGroup,
    is_depthwise,
)
from exporter.compress.layer_times import LayerShape, LayerTimes
from exporter.modules import evaluating

WidthsOfGroups = Sequence[int]


@dataclass(frozen=True)
class Layer:
    """A layer with weights, or a batch norm, as it is before pruning.

    Attributes:
        name: of the module.
        outputs: channels or features.
        inputs: likewise; 1 for depthwise layers and batch norms, whose inputs are their outputs.
        macs: multiply-accumulates for one sample.
        weights: how many parameters grow with outputs times inputs.
        vectors: how many parameters there are for each output: a bias, or gamma and beta.
        shape: what its time depends on but its channels; None for what is never measured.
        calls: how many times the network uses it.
    """

    name: str
    outputs: int
    inputs: int
    macs: int
    weights: int
    vectors: int
    shape: LayerShape | None
    calls: int = 1


@dataclass(frozen=True)
class Extent:
    """How many of a layer's channels belong to a group.

    Attributes:
        outputs: of its outputs.
        inputs: of its inputs.
    """

    outputs: int = 0
    inputs: int = 0


class Costs:
    """The costs of a module as functions of its groups' widths.

    Args:
        module: before pruning.
        example: [N, C, H, W]; costs are for one sample of this size.
        groups: of its channels.
    """

    def __init__(
        self, module: nn.Module, example: torch.Tensor, groups: Sequence[ChannelGroup]
    ) -> None:
        self.groups = tuple(groups)
        self.layers = layers_of(module, example)
        self.full = tuple(group.channels for group in groups)
        self._extents = [_extents(group) for group in groups]

    def macs(self, widths: WidthsOfGroups) -> float:
        """Multiply-accumulates for one sample."""
        return sum(
            layer.macs * (outputs / layer.outputs) * (inputs / layer.inputs)
            for layer, outputs, inputs in self.at(widths)
        )

    def parameters(self, widths: WidthsOfGroups) -> float:
        """Parameters of the layers."""
        return sum(
            layer.weights * (outputs / layer.outputs) * (inputs / layer.inputs)
            + layer.vectors * outputs
            for layer, outputs, inputs in self.at(widths)
        )

    def milliseconds(self, times: LayerTimes, widths: WidthsOfGroups) -> float:
        """By a table of measured times.

        The sum over the layers, in proportion to what the whole network took before pruning: what
        has no weights takes its time as well.

        Raises:
            RecipeError: the table lacks a layer.
        """
        return times.network_ms * self._sum(times, widths) / self._sum(times, self.full)

    def _sum(self, times: LayerTimes, widths: WidthsOfGroups) -> float:
        return sum(
            times.layer_ms(layer.shape, outputs, inputs) * layer.calls
            for layer, outputs, inputs in self.at(widths)
            if layer.shape is not None
        )

    def at(self, widths: WidthsOfGroups) -> list[tuple[Layer, int, int]]:
        """Each layer with its outputs and inputs at these widths."""
        outputs = {layer.name: layer.outputs for layer in self.layers}
        inputs = {layer.name: layer.inputs for layer in self.layers}
        for extents, full, width in zip(self._extents, self.full, widths, strict=True):
            for name, extent in extents.items():
                if name in outputs:
                    outputs[name] -= extent.outputs * (full - width) // full
                    inputs[name] -= extent.inputs * (full - width) // full
        return [(layer, outputs[layer.name], inputs[layer.name]) for layer in self.layers]


def layers_of(module: nn.Module, example: torch.Tensor) -> tuple[Layer, ...]:
    """The layers that the module uses, in the order of their first use."""
    found: dict[str, Layer] = {}

    def record(name: str, part: Any, inputs: Any, output: torch.Tensor) -> None:
        layer = _layer(name, part, inputs[0], output)
        if name in found:  # one that is used again costs again, and has its parameters once
            first = found[name]
            layer = replace(first, macs=first.macs + layer.macs, calls=first.calls + 1)
        found[name] = layer

    hooks = [
        part.register_forward_hook(
            lambda part, inputs, output, name=name: record(name, part, inputs, output)
        )
        for name, part in module.named_modules()
        if isinstance(part, (*PRUNED_TYPES, nn.modules.batchnorm._BatchNorm))
    ]
    try:
        with evaluating(module), torch.no_grad():
            module(example[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found.values())


def _layer(name: str, part: Any, x: torch.Tensor, output: torch.Tensor) -> Layer:
    if not isinstance(part, PRUNED_TYPES):
        return Layer(name, part.num_features, 1, 0, 0, 2 if part.affine else 0, None)
    dense = isinstance(part, nn.Linear)
    outputs = part.out_features if dense else part.out_channels
    inputs = part.in_features if dense else part.in_channels
    weights = part.weight.numel()
    per_weight = output if not isinstance(part, nn.ConvTranspose2d) else x
    uses = per_weight[0].numel() // (outputs if per_weight is output else inputs)
    vectors = int(part.bias is not None)
    shape = None if isinstance(part, nn.Conv1d) else LayerShape.of(part, x)
    inputs = 1 if is_depthwise(part) else inputs
    return Layer(name, outputs, inputs, uses * weights, weights, vectors, shape)


def _extents(group: ChannelGroup) -> Mapping[str, Extent]:
    extents: dict[str, Extent] = {}
    for touch in group.touches:
        before = extents.get(touch.name, Extent())
        count = len(set(touch.indices))
        if touch.side == "in":
            extents[touch.name] = Extent(before.outputs, before.inputs + count)
        else:
            extents[touch.name] = Extent(before.outputs + count, before.inputs)
    return extents
