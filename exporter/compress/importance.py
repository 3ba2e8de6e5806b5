"""How much each channel of a group matters: by magnitude, batch norm scale, or first-order Taylor.

"magnitude": the L2 norm of a channel's weights in every layer that makes or reads it, in units of
that layer's mean channel, summed over the layers.

"batch_norm": |gamma|, likewise (Liu et al., Network Slimming, arXiv:1708.06519); the magnitude for
a group without batch norms.

"taylor": how much the loss changes when the channel is zero, to first order, squared, summed over
calibration batches (Molchanov et al., arXiv:1906.10771, equation 8): the sum of gradient times
value over gamma and beta of its batch norms, or over its weights and bias where it has none. The
values of all groups are of one scale. Frozen parameters count as any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from exporter.compress.channel_groups import (
    PRUNED_TYPES,
    ChannelGroup,
    Touch,
    by_input,
    by_output,
    differentiable,
)
from exporter.errors import RecipeError
from exporter.modules import evaluating

Importance = Literal["magnitude", "batch_norm", "taylor"]
IMPORTANCES: tuple[Importance, ...] = get_args(Importance)

Loss = Callable[..., torch.Tensor]
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def importance_of(
    kind: Importance,
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    batches: Batches = (),
    loss: Loss = nn.functional.cross_entropy,
) -> list[torch.Tensor]:
    """The importance of every channel: [channels] for each group, float64, at least 0.

    Args:
        kind: which.
        module: that the groups were found in.
        groups: of its channels.
        batches: of (inputs as the module takes them, targets); for "taylor" alone.
        loss: of (outputs, targets); for "taylor" alone.

    Raises:
        RecipeError: "taylor" without batches.
    """
    if kind == "taylor":
        return _taylor(module, groups, batches, loss)
    relative = _batch_norm if kind == "batch_norm" else _magnitude
    return [relative(group) for group in groups]


def _magnitude(group: ChannelGroup) -> torch.Tensor:
    total = torch.zeros(group.channels, dtype=torch.float64)
    for touch in group.touches:
        if isinstance(touch.module, PRUNED_TYPES):
            _add(total, touch, _relative(_norms(touch)))
    return total


def _batch_norm(group: ChannelGroup) -> torch.Tensor:
    norms = list(_batch_norms(group))
    if not norms:
        return _magnitude(group)
    total = torch.zeros(group.channels, dtype=torch.float64)
    for touch in norms:
        _add(total, touch, _relative(touch.module.weight.detach().abs()))
    return total


def _taylor(
    module: nn.Module, groups: Sequence[ChannelGroup], batches: Batches, loss: Loss
) -> list[torch.Tensor]:
    totals = [torch.zeros(group.channels, dtype=torch.float64) for group in groups]
    count = 0
    with evaluating(module), differentiable(module):
        for inputs, targets in batches:
            count += 1
            module.zero_grad(set_to_none=True)
            with torch.enable_grad():
                loss(module(inputs), targets).backward()
            for total, group in zip(totals, groups, strict=True):
                total.add_(_first_order(group).square())
    module.zero_grad(set_to_none=True)
    if not count:
        raise RecipeError(
            'the importance "taylor" needs gradients, and there is no data to take them on',
            expected="calibration batches of (inputs, targets)",
        )
    return [total / count for total in totals]


def _first_order(group: ChannelGroup) -> torch.Tensor:
    """The change of the loss when a channel is zero, to first order, up to the sign."""
    total = torch.zeros(group.channels, dtype=torch.float64)
    norms = list(_batch_norms(group))
    for touch in norms or [t for t in group.touches if t.side == "out"]:
        for parameter in (touch.module.weight, touch.module.bias):
            if parameter is None or parameter.grad is None:
                continue
            product = (parameter * parameter.grad).detach()
            rows = by_output(touch.module, product) if product.dim() > 1 else product[:, None]
            _add(total, touch, rows.sum(1))
    return total


def _batch_norms(group: ChannelGroup) -> Iterator[Touch]:
    for touch in group.touches:
        if isinstance(touch.module, nn.modules.batchnorm._BatchNorm) and touch.module.affine:
            yield touch


def _norms(touch: Touch) -> torch.Tensor:
    """The L2 norm of a layer's weights for each position of the dimension that a touch is along."""
    weight: Any = touch.module.weight.detach()
    if touch.side != "in":
        return by_output(touch.module, weight).norm(dim=1)
    norms = by_input(touch.module, weight).flatten(1).norm(dim=1)
    return norms.repeat(touch.module.groups) if getattr(touch.module, "groups", 1) > 1 else norms


def _relative(values: torch.Tensor) -> torch.Tensor:
    mean = values.double().mean()
    return values.double() / mean if bool(mean > 0) else values.double()


def _add(total: torch.Tensor, touch: Touch, values: torch.Tensor) -> None:
    """Add what each position of a layer is worth to the channel that it belongs to."""
    places = torch.tensor(touch.indices)
    share = len(touch.indices) / len(set(touch.channels))
    total.index_add_(0, torch.tensor(touch.channels), values.double()[places] / share)
