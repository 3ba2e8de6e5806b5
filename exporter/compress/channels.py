"""Channel pruning: whole channels go, and the network is a narrower one of the same kind.

    pruned = prune_channels(model, example, Channels(macs=0.57))
    ...finetune the model...

What is left are fewer multiply-accumulates, which every runtime saves; zeros here and there are not
(see docs/channel-pruning.md). Widths are multiples of 16, where int8 kernels are at their best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from exporter.compress.channel_groups import ChannelGroup, find_groups, prune_groups
from exporter.compress.importance import Batches, Importance, Loss, importance_of
from exporter.compress.layer_costs import Costs
from exporter.compress.layer_times import LayerTimes
from exporter.compress.magnitude import check_finite
from exporter.compress.widths import Widths, difference, sizes_of
from exporter.errors import RecipeError

SMALL = 64
"""Layers with fewer channels have half the multiple: a whole one is too much of them."""

Cost = Callable[[Sequence[int]], float]
Removed = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Channels:
    """What to prune to: one of the first three.

    Attributes:
        macs: share of the multiply-accumulates that is left.
        parameters: share of the parameters that is left.
        milliseconds: on the device of `times`.
        times: measured times of the layers; for `milliseconds`.
        importance: which channels go first.
        scope: "global", where they cost least importance for what they save; or "uniform", the
            same share of every layer.
        multiple: widths are multiples of it, of half of it in layers with fewer than 64 channels;
            or stay as they are.
        least: share of a layer's channels that stays in any case.
        exempt: names of layers that keep all their outputs.
    """

    macs: float | None = None
    parameters: float | None = None
    milliseconds: float | None = None
    times: LayerTimes | None = None
    importance: Importance = "magnitude"
    scope: Literal["global", "uniform"] = "global"
    multiple: int = 16
    least: float = 0.25
    exempt: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the target."""
        targets = [t for t in (self.macs, self.parameters, self.milliseconds) if t is not None]
        if len(targets) != 1 or not targets[0] > 0:
            raise RecipeError(
                "channel pruning has one target",
                expected="one of macs, parameters and milliseconds, above 0",
                found=f"{len(targets)} of them",
            )
        if self.milliseconds is not None and self.times is None:
            raise RecipeError(
                "milliseconds are reached by a table of measured layer times, and none is named",
                expected="times = LayerTimes(...)",
            )


@dataclass(frozen=True)
class Chosen:
    """What channel pruning decided.

    Attributes:
        removed: roots of groups, and which of their channels go.
        kept: why some layers keep all their channels, by their names.
        before: the cost before; multiply-accumulates, parameters or milliseconds.
        after: likewise after, as it is computed from the widths.
    """

    removed: Removed
    kept: dict[str, str]
    before: float
    after: float


@dataclass(frozen=True)
class Narrowed:
    """A module that was pruned.

    Attributes:
        widths: give them to a fresh module with `narrow`, and load the weights.
        chosen: what was decided.
    """

    widths: Widths
    chosen: Chosen


def prune_channels(
    module: nn.Module,
    example: torch.Tensor,
    channels: Channels,
    batches: Batches = (),
    loss: Loss = nn.functional.cross_entropy,
) -> Narrowed:
    """Prune the channels of a trained module, in place; train it for a while behind that.

    Make optimizers afterwards: the parameters are new ones.

    Args:
        module: any module of convolutions, dense layers and batch norms that runs on `example`.
        example: [N, C, H, W], float32; costs are for one sample of that size.
        channels: how far.
        batches: of (inputs, targets) for the importance "taylor".
        loss: of (outputs, targets) for it.

    Raises:
        RecipeError: the target cannot be reached, or an exempt layer does not exist.
        UnsupportedError: torch-pruning cannot follow the module's code.
        WeightError: a parameter that is not finite, by its name.
    """
    chosen = choose_channels(module, example, channels, batches, loss)
    return Narrowed(remove_channels(module, example, chosen.removed), chosen)


def choose_channels(
    module: nn.Module,
    example: torch.Tensor,
    channels: Channels,
    batches: Batches = (),
    loss: Loss = nn.functional.cross_entropy,
) -> Chosen:
    """Decide which channels go; the module stays as it is. See `prune_channels`."""
    check_finite(module.named_parameters())
    grouping = find_groups(module, example, channels.exempt)
    groups = grouping.groups
    if not groups:
        raise RecipeError(
            "no channels can be pruned",
            found="; ".join(f"{name}: {why}" for name, why in grouping.kept.items())[:400],
        )
    costs = Costs(module, example, groups)
    cost, goal = _goal(costs, channels)
    importance = importance_of(channels.importance, module, groups, batches, loss)
    ranks = [_ranked(group, values) for group, values in zip(groups, importance, strict=True)]
    steps = [_allowed(group, channels) for group in groups]
    if channels.scope == "uniform":
        widths = _uniform(steps, cost, goal)
    else:
        widths = _greedy(steps, [worth for _, worth in ranks], cost, goal)
    if cost(widths) > goal:
        raise RecipeError(
            "channel pruning cannot go as far as asked",
            expected=f"{goal / cost(costs.full):.1%} of the cost",
            found=f"{cost(widths) / cost(costs.full):.1%} with the narrowest widths allowed",
            remedy="ask for less, or set least, multiple or exempt lower",
        )
    removed = tuple(
        (group.root, tuple(group.members(order[: (group.channels - width) // group.unit])))
        for group, (order, _), width in zip(groups, ranks, widths, strict=True)
        if width < group.channels
    )
    return Chosen(removed, grouping.kept, cost(costs.full), cost(widths))


def remove_channels(module: nn.Module, example: torch.Tensor, removed: Removed) -> Widths:
    """Take the channels out, in place; gives the sizes that are left."""
    before = sizes_of(module)
    prune_groups(module, example, removed)
    return difference(before, sizes_of(module))


def _goal(costs: Costs, channels: Channels) -> tuple[Cost, float]:
    """The cost that is to come down, as a function of the widths, and to what."""
    if channels.macs is not None:
        return costs.macs, channels.macs * costs.macs(costs.full)
    if channels.parameters is not None:
        return costs.parameters, channels.parameters * costs.parameters(costs.full)
    times = channels.times
    if times is None or channels.milliseconds is None:
        raise ValueError("a target without its table")
    return lambda widths: costs.milliseconds(times, widths), channels.milliseconds


def _ranked(group: ChannelGroup, values: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """Positions from the least important, and how much importance the first n of them hold."""
    blocks = values.reshape(group.unit, -1).sum(0)
    order = torch.argsort(blocks, stable=True)
    return order.tolist(), torch.cat([torch.zeros(1), blocks[order].cumsum(0)])


def _allowed(group: ChannelGroup, channels: Channels) -> list[int]:
    """The widths that a group may have, from the widest: its own, and multiples."""
    small = group.channels < SMALL
    multiple = max(1, channels.multiple // 2 if small else channels.multiple)
    multiple = math.lcm(multiple, group.unit)
    least = max(multiple, math.ceil(channels.least * group.channels))
    below = range((group.channels - 1) // multiple * multiple, least - 1, -multiple)
    return [group.channels, *below]


def _greedy(
    allowed: Sequence[list[int]], worth: Sequence[torch.Tensor], cost: Cost, goal: float
) -> list[int]:
    """Take the step that loses the least importance for what it saves, until the goal is reached.

    Args:
        allowed: widths of each group, from the widest.
        worth: importance that the first n positions of each group hold, from the least important.
        cost: of widths.
        goal: at most this.
    """
    places = [0] * len(allowed)
    now = cost([w[0] for w in allowed])
    while now > goal:
        best: tuple[float, int, float] | None = None
        for index, widths in enumerate(allowed):
            if places[index] + 1 == len(widths):
                continue
            trial = [
                w[p + (i == index)] for i, (w, p) in enumerate(zip(allowed, places, strict=True))
            ]
            saved = now - cost(trial)
            lost = _lost(worth[index], widths, places[index])
            # What saves nothing by itself, as on a stair of a table of times, comes last.
            price = lost / saved if saved > 0 else math.inf
            if best is None or (price, index) < best[:2]:
                best = (price, index, now - saved)
        if best is None:
            break
        places[best[1]] += 1
        now = best[2]
    return [widths[place] for widths, place in zip(allowed, places, strict=True)]


def _lost(worth: torch.Tensor, widths: list[int], place: int) -> float:
    full, positions = widths[0], len(worth) - 1
    gone = [(full - widths[p]) * positions // full for p in (place, place + 1)]
    return float(worth[gone[1]] - worth[gone[0]])


def _uniform(allowed: Sequence[list[int]], cost: Cost, goal: float) -> list[int]:
    """The largest share of all layers' channels, rounded to the nearest width, that is in reach."""
    shares = sorted({w / widths[0] for widths in allowed for w in widths}, reverse=True)
    widths = [w[0] for w in allowed]
    for share in shares:
        if cost(widths) <= goal:
            break
        widths = [_nearest(w, share * w[0]) for w in allowed]
    return widths


def _nearest(widths: list[int], wanted: float) -> int:
    return min(widths, key=lambda width: abs(width - wanted))
