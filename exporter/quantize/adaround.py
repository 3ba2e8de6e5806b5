"""Adaptive rounding: each weight goes up or down such that the layer's outputs change least.

Rounding to the nearest integer makes the error of each weight smallest; what counts is the error
of the sum. With inputs x, rounding all weights by d changes the output of a channel by d x, whose
mean square is d H d with H the inputs' second moments (Nagel et al., arXiv:2004.10568, eq. 13).
The paper finds d by gradient descent through a relaxation. For a quadratic form coordinate descent
needs neither relaxation nor learning rate: every weight in turn takes the better of its two
integers given all others, which never makes the error larger, until nothing moves or the sweeps
are used up. The work does not depend on the number of samples: H is all that is kept of them.

The layer's inputs are those that it really gets, from quantized layers. Their mean is taken out:
bias correction, which follows, takes the shift of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch.fx import GraphModule, Node

from exporter.quantize import roles
from exporter.quantize.bias_correction import is_own_layer
from exporter.quantize.edit import argument, parameter_of
from exporter.quantize.fold import Grid
from exporter.quantize.lockstep import Layer
from exporter.quantize.qat import GridWeight
from exporter.quantize.scheme import WEIGHT_MAX, limit_pairs

SWEEPS: Final = 8
POSITIONS: Final = 16384
"""Input patches that H is taken over; images have more, and neighbours tell the same."""

DAMPING: Final = 0.01
"""Of the mean diagonal of H, added to it: inputs that calibration never saw still count."""


@dataclass(frozen=True)
class Rounded:
    """What rounding did to one layer.

    Attributes:
        name: of the layer's node.
        moved: share of weights whose integer changed.
        error: mean square of the change of its outputs, over that of rounding to the nearest.
    """

    name: str
    moved: float
    error: float


@torch.no_grad()
def round_weights(real: GraphModule, quantized: GraphModule, layer: Layer) -> Rounded | None:
    """Round one layer's weights anew, in place, on the grid that they have.

    The pair rule is kept, masks of pruned weights too. Where the result is no better than rounding
    to the nearest, that stays.

    Returns:
        What was done; None for a layer that is none of the network's own.
    """
    if not is_own_layer(real, layer.twin):
        return None
    if layer.node.args[1].op != "call_module":  # a layer that stays float
        return None
    module = quantized.get_submodule(str(layer.node.args[1].target))
    weight = parameter_of(real, layer.twin.args[1])
    if not isinstance(module, GridWeight) or weight is None:
        return None
    moments = second_moments(layer, weight)
    nearest = module.grid()
    shape = (len(moments), -1, moments.shape[1])
    exact = (weight.detach() / module.scale).reshape(shape)
    before = nearest.integers.float().reshape(shape)
    found = descend(exact, before, moments, _frozen(nearest, shape)).reshape(weight.shape)
    if module.pair_rule:
        found = limit_pairs(found)
    after = found.reshape(shape)
    scale = module.scale.reshape(len(moments), -1)
    errors = [quadratic_error(q - exact, moments, scale) for q in (before, after)]
    # A channel whose pairs had to be brought back may have lost more than it gained.
    better = (errors[1] < errors[0]).unsqueeze(2)
    kept = torch.where(better, after, before).reshape(weight.shape)
    module.latent.copy_(kept * module.scale)
    total = torch.where(better.squeeze(2), errors[1], errors[0]).sum() / errors[0].sum()
    moved = float((kept != nearest.integers).float().mean())
    return Rounded(layer.node.name, moved, float(total) if torch.isfinite(total) else 1.0)


def _frozen(grid: Grid, shape: tuple[int, ...]) -> torch.Tensor | None:
    return None if grid.mask is None else (~grid.mask).reshape(shape)


def descend(
    exact: torch.Tensor, start: torch.Tensor, moments: torch.Tensor, frozen: torch.Tensor | None
) -> torch.Tensor:
    """Coordinate descent over roundings up and down.

    Args:
        exact: weights in steps, [groups, out, k].
        start: integers to start from, the same shape.
        moments: [groups, k, k].
        frozen: bool, the shape of the weights; True stays as it is.

    Returns:
        Integers as float, each the floor or the ceiling of its weight, in [-127, 127].
    """
    found = start.clone()
    low = exact.floor().clamp(-WEIGHT_MAX, WEIGHT_MAX)
    high = exact.ceil().clamp(-WEIGHT_MAX, WEIGHT_MAX)
    slope = (found - exact) @ moments
    for _ in range(SWEEPS):
        moved = False
        for k in range(exact.shape[2]):
            curvature = moments[:, k, k].unsqueeze(1)
            wanted = found[..., k] - slope[..., k] / curvature.clamp_min(1e-30)
            nearer_high = (high[..., k] - wanted).abs() < (low[..., k] - wanted).abs()
            taken = torch.where(nearer_high, high[..., k], low[..., k])
            taken = torch.where(curvature > 0, taken, found[..., k])
            if frozen is not None:
                taken = torch.where(frozen[..., k], found[..., k], taken)
            step = taken - found[..., k]
            if bool(step.any()):
                moved = True
                slope += step.unsqueeze(2) * moments[:, k].unsqueeze(1)
                found[..., k] = taken
        if not moved:
            break
    return found


def quadratic_error(
    difference: torch.Tensor, moments: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Error d H d of each output channel, [groups, out]; `difference` in steps of `scale`."""
    return ((difference @ moments) * difference).sum(2) * scale**2


def second_moments(layer: Layer, weight: torch.Tensor) -> torch.Tensor:
    """Damped covariance of the patches that a layer's weights meet, [groups, k, k]."""
    share = POSITIONS // len(layer.quantized)
    columns = torch.cat([patches(layer.node, x, weight, share) for x in layer.quantized], 2)
    columns = columns - columns.mean(2, keepdim=True)
    moments = columns @ columns.transpose(1, 2) / columns.shape[2]
    diagonal = torch.diagonal(moments, dim1=1, dim2=2)
    diagonal += DAMPING * diagonal.mean(1, keepdim=True)
    return moments


def patches(node: Node, x: torch.Tensor, weight: torch.Tensor, limit: int) -> torch.Tensor:
    """Input patches as columns, [groups, k, n], k in the order of a weight's row; n about `limit`.

    Positions are taken at even distances over the image.
    """
    if node.target in roles.DENSE:
        return x.flatten(0, -2).t().unsqueeze(0)
    stride, dilation = argument(node, 3, [1, 1]), argument(node, 5, [1, 1])
    reach = [(size - 1) * d + 1 for size, d in zip(weight.shape[2:], dilation, strict=True)]
    x = torch.nn.functional.pad(x, _padding(argument(node, 4, [0, 0]), reach))
    windows = x.unfold(2, reach[0], stride[0]).unfold(3, reach[1], stride[1])
    windows = windows[..., :: dilation[0], :: dilation[1]]
    count = len(x) * windows.shape[2] * windows.shape[3]
    skip = max(1, round((count / max(1, limit)) ** 0.5))
    windows = windows[:, :, ::skip, ::skip].permute(1, 4, 5, 0, 2, 3)
    groups = argument(node, 6, 1)
    return windows.reshape(groups, weight[0].numel(), -1)


def _padding(padding: list[int] | str, reach: list[int]) -> list[int]:
    """As `torch.nn.functional.pad` takes it: left, right, top, bottom."""
    if padding == "valid":
        return [0, 0, 0, 0]
    if isinstance(padding, str):  # same: the odd pixel goes to the end
        height, width = (size - 1 for size in reach)
        return [width // 2, width - width // 2, height // 2, height - height // 2]
    vertical, horizontal = padding if len(padding) == 2 else [padding[0]] * 2
    return [horizontal, horizontal, vertical, vertical]
