"""Quantization-aware training on the captured graph: weights on their grids, activations too.

The fake-quantized graph computes with the very operations of the finished one, so that both give
the same floats: activations by `torch.ops.quantized_decomposed`'s formulas, weights as
integer * scale.
Gradients pass straight through inside the range and stop outside (Bengio et al., arXiv:1308.3432;
Jacob et al., arXiv:1712.05877).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.quantize import roles
from exporter.quantize.edit import argument, finish_edit, parameter_of, replace_uses_except
from exporter.quantize.fold import Grid, Grids
from exporter.quantize.groups import value_of
from exporter.quantize.plan import Plan
from exporter.quantize.scheme import (
    WEIGHT_MAX,
    ActivationScale,
    short_scale,
    to_grid,
    weight_scale,
)

LARGEST_BIAS = 2**30
"""Steps: half of int32's range. Correction and training move biases, and must not leave it."""
LARGEST_RATIO = 0.5
"""Output steps that a step of input times one of weight may be. It is the bias's step too, and from
256 on XNNPACK refuses the file. Of use are some hundredths: 127 by 127 of them fill the output."""


class _RoundToGrid(torch.autograd.Function):
    """Affine quantize and dequantize with a straight-through gradient inside the range."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: float, zero_point: int, low: int, high: int
    ) -> torch.Tensor:
        unclamped = torch.round(x * (1.0 / scale)) + zero_point
        ctx.save_for_backward((unclamped >= low) & (unclamped <= high))
        return (unclamped.clamp(low, high) - zero_point) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


class ActivationQuantizer(nn.Module):
    """Rounds a tensor to the integers' steps of a fixed scale, as float."""

    def __init__(self, scale: ActivationScale) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same shape."""
        if not torch.is_grad_enabled():
            return self._in_place(x)
        rounded: torch.Tensor = _RoundToGrid.apply(
            x, self.scale.scale, self.scale.zero_point, *self.scale.limits
        )
        return rounded

    def _in_place(self, x: torch.Tensor) -> torch.Tensor:
        """The same steps without what only a gradient needs, in one copy of the tensor."""
        copy = (x * (1.0 / self.scale.scale)).round_().add_(self.scale.zero_point)
        copy = copy.clamp_(*self.scale.limits)
        return copy.sub_(self.scale.zero_point).mul_(self.scale.scale)


class _RoundWeight(torch.autograd.Function):
    """integer * scale of a latent weight, with a straight-through gradient inside the range."""

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, scale: torch.Tensor, pair_rule: bool
    ) -> torch.Tensor:
        limit = (WEIGHT_MAX + 0.5) * scale
        largest = weight.flatten(1).abs().amax(1)
        # As a rule all weights lie within the grid: then there is nothing to keep.
        within = bool((largest <= limit.flatten()).all())
        ctx.save_for_backward(None if within else weight.abs() <= limit)
        return to_grid(weight, scale, pair_rule=pair_rule).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] if inside is None else gradients[0] * inside, None, None


class GridWeight(nn.Module):
    """A trainable weight that is read through its grid.

    Args:
        grid: where it starts. Its scale stays; its integers move with training; pruned weights
            stay zero.
        pair_rule: hold the integers to the pair rule while they move.
        trains: False for weights that are none of the network's, such as those of a mean.
    """

    scale: torch.Tensor
    mask: torch.Tensor | None

    def __init__(self, grid: Grid, *, pair_rule: bool, trains: bool = True) -> None:
        super().__init__()
        self.pair_rule = pair_rule
        self.latent = nn.Parameter(grid.values(), requires_grad=trains)
        shape = (-1,) + (1,) * (grid.integers.dim() - 1)
        self.register_buffer("scale", grid.scale.reshape(shape).clone())
        self.register_buffer("mask", None if grid.mask is None else grid.mask.clone())

    def forward(self) -> torch.Tensor:
        """The weight as the shipped integers give it, float32."""
        latent = self.latent if self.mask is None else self.latent * self.mask
        rounded: torch.Tensor = _RoundWeight.apply(latent, self.scale, self.pair_rule)
        return rounded

    def grid(self) -> Grid:
        """The grid as it stands now."""
        with torch.no_grad():
            latent = self.latent if self.mask is None else self.latent * self.mask
            integers = to_grid(latent, self.scale, pair_rule=self.pair_rule)
        return Grid(integers.to(torch.int8), self.scale.flatten().clone(), self.mask)


def needs_pair_rule(node: Node, weight: torch.Tensor) -> bool:
    """Whether a weight's products are summed in pairs: dense kernels, not depthwise ones."""
    if node.target in roles.DENSE:
        return True
    groups = argument(node, 6, 1)
    return bool(groups == 1 or groups != weight.shape[0])


@dataclass(frozen=True)
class Limits:
    """What the scales of a layer's weights must keep to, for kernels to take them.

    Attributes:
        least: [out], at which int32 biases take half of their range. A channel of small weights
            needs it: one that training gave up, or, with int16 values, whose steps are 256 times
            finer, one of many. Such weights become few steps, or none: beside the bias they are
            next to nothing.
        most: at which a step of input times one of weight is `LARGEST_RATIO` of an output's. Behind
            a dead input the statistics are zeros, and batch norm multiplies weights by hundreds.
    """

    least: torch.Tensor | None = None
    most: float | None = None

    @staticmethod
    def of(graph_module: GraphModule, node: Node, plan: Plan) -> Limits:
        """Those of a layer, by the scales around it."""
        bias = parameter_of(graph_module, argument(node, 2))
        source, result = plan.group_of[node.args[0]], plan.group_of.get(value_of(node))
        least = None if bias is None else bias.detach().abs() / (source.step * LARGEST_BIAS)
        return Limits(least, None if result is None else LARGEST_RATIO * result.step / source.step)

    def within(self, scale: torch.Tensor) -> torch.Tensor:
        """The scales [out], each as near as the limits allow; int32 counts more."""
        limited = scale if self.most is None else scale.clamp(max=self.most)
        return limited if self.least is None else torch.maximum(limited, self.least)


def grid_for(
    weight: torch.Tensor,
    *,
    pair_rule: bool,
    short: bool = False,
    limits: Limits = Limits(),
) -> Grid:
    """The grid of a weight that was trained without one (post-training quantization).

    Args:
        weight: [out, ...].
        pair_rule: as in `exporter.quantize.scheme.to_grid`.
        short: give scales short mantissas.
        limits: of the scales.
    """
    scale = weight_scale(weight, pair_rule=pair_rule)
    scale = limits.within(scale)
    if short:
        scale = short_scale(scale, up=True)
    integers = to_grid(weight, scale, pair_rule=pair_rule).to(torch.int8)
    zeros = weight == 0
    return Grid(integers, scale, ~zeros if bool(zeros.any()) else None)


def prepare(graph_module: GraphModule, plan: Plan, grids: Grids) -> GraphModule:
    """Put quantizers behind every value of a plan and grids before every weight, in place."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target in roles.WEIGHTED and not plan.stays_float(node):
            _prepare_weight(graph_module, node, grids, plan)
    for group in plan.groups:
        for node in group.members:
            if group.scale is None:
                raise ValueError(f"{group.name} has no scale: assign ranges first")
            name = f"{node.name}_quantizer"
            graph_module.add_submodule(name, ActivationQuantizer(group.scale))
            with graph.inserting_after(node):
                quantizer = graph.call_module(name, (node,))
            replace_uses_except(node, quantizer)
    finish_edit(graph_module)
    return graph_module


def _within(grid: Grid, limits: Limits, *, pair_rule: bool) -> Grid:
    """A grid that was trained on, with scales that kernels take."""
    scale = limits.within(grid.scale)
    if torch.equal(scale, grid.scale):
        return grid
    scale = torch.where(scale == grid.scale, scale, short_scale(scale, up=False))
    integers = to_grid(grid.values(), scale, pair_rule=pair_rule).to(torch.int8)
    return replace(grid, integers=integers, scale=scale)


def _prepare_weight(graph_module: GraphModule, node: Node, grids: Grids, plan: Plan) -> None:
    weight_node = node.args[1]
    weight = parameter_of(graph_module, weight_node)
    if weight is None or not isinstance(weight_node, Node):
        return
    name = str(weight_node.target)
    in_pairs = plan.group_of[node.args[0]].kind == "int8" and needs_pair_rule(node, weight)
    pair_rule = plan.exact and in_pairs
    # The weights of a mean or of padding are exact as they are, and must stay so.
    short = plan.short_scales and isinstance(weight, nn.Parameter)
    limits = Limits.of(graph_module, node, plan)
    grid = grids.get(name)
    if grid is None:
        grid = grid_for(weight.detach(), pair_rule=pair_rule, short=short, limits=limits)
    else:
        if short:
            grid = replace(grid, scale=short_scale(grid.scale, up=False))
        grid = _within(grid, limits, pair_rule=pair_rule)
    grids[name] = grid
    trains = isinstance(weight, nn.Parameter) and weight.requires_grad and grid.trains
    module_name = name.replace(".", "_") + "_grid"
    graph_module.add_submodule(module_name, GridWeight(grid, pair_rule=pair_rule, trains=trains))
    with graph_module.graph.inserting_after(weight_node):
        call = graph_module.graph.call_module(module_name)
    call.meta["weight_name"] = name
    weight_node.replace_all_uses_with(call)
