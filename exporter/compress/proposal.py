"""A sparsity and a step for each layer, from a scan: the least coded bytes for an allowed loss.

A greedy exchange by marginal loss for each byte saved: of every layer's settings those on the lower
convex hull of loss over bytes count, and the cheapest exchange of all layers is made until the
allowed loss is spent (as Y. Shoham and A. Gersho allocate bits, IEEE Trans. ASSP 36, 1988). Losses
of single layers are added up for it, which they do not do in truth: `Proposal.loss` is that of
all settings at once, before any training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, pairwise

from torch import nn

from exporter.build import Frozen
from exporter.compress.sensitivity import (
    Batch,
    LayerCurve,
    Point,
    Scan,
    changed,
    coded_bytes,
    measure,
    prunable,
)
from exporter.compress_recipe import PruneSection, ShareSection
from exporter.train import CLASSIFICATION, Task


class Setting(Frozen):
    """What is proposed for a layer; `step` is None where no steps were scanned."""

    sparsity: float
    step: float | None
    coded_bytes: float


class Proposal(Frozen):
    """Settings by layer.

    Attributes:
        layers: by name.
        allowed_loss: how much the loss may rise, in nats.
        summed_loss: rises of single layers, added up.
        loss: of the network with all settings at once, without training.
        accuracy: likewise, in [0, 1].
        coded_bytes: of these layers, coded one by one.
    """

    layers: dict[str, Setting]
    allowed_loss: float
    summed_loss: float
    loss: float
    accuracy: float
    coded_bytes: float


@dataclass(frozen=True)
class Option:
    """A setting, and what it adds to the loss."""

    setting: Setting
    loss: float


def propose(
    model: nn.Module,
    batches: Sequence[Batch],
    found: Scan,
    allowed_loss: float,
    exempt: Collection[str] = (),
    task: Task = CLASSIFICATION,
) -> Proposal:
    """Choose settings, and measure them together; the model is as before afterwards.

    Args:
        model: that was scanned.
        batches: on which.
        found: by `scan`.
        allowed_loss: rises of single layers may add up to this, in nats.
        exempt: layers that are left out.
        task: what the network is for.
    """
    modules = prunable(model)
    options = {
        layer.name: _options(layer, modules[layer.name], found.loss)
        for layer in found.layers
        if layer.name not in exempt
    }
    chosen = exchange(options, allowed_loss)
    with ExitStack() as stack:
        for name, option in chosen.items():
            setting = option.setting
            stack.enter_context(changed(modules[name], setting.sparsity, setting.step))
        loss, accuracy = measure(model, batches, task)
    return Proposal(
        layers={name: option.setting for name, option in chosen.items()},
        allowed_loss=allowed_loss,
        summed_loss=sum(option.loss for option in chosen.values()),
        loss=loss,
        accuracy=accuracy,
        coded_bytes=sum(option.setting.coded_bytes for option in chosen.values()),
    )


def exchange(options: Mapping[str, Sequence[Option]], allowed_loss: float) -> dict[str, Option]:
    """One option a layer: the least bytes by greedy exchange for losses that sum to `allowed_loss`.

    Where even the options of least loss exceed it, those are chosen.
    """
    hulls = {name: hull(of_layer) for name, of_layer in options.items()}
    chosen = {name: points[0] for name, points in hulls.items()}
    spent = sum(option.loss for option in chosen.values())
    exchanges = sorted(
        (
            (after.loss - before.loss) / (_bytes(before) - _bytes(after)),
            place,
            name,
            after,
            after.loss - before.loss,
        )
        for name, points in hulls.items()
        for place, (before, after) in enumerate(pairwise(points))
    )
    ended = set()
    for _, _, name, after, more in exchanges:
        if name in ended:
            continue
        if spent + more > allowed_loss:
            ended.add(name)
            continue
        chosen[name], spent = after, spent + more
    return chosen


def hull(options: Sequence[Option]) -> list[Option]:
    """The lower convex hull of loss over bytes, from the option of least loss to least bytes."""
    points: list[Option] = []
    for option in sorted(options, key=lambda one: (one.loss, _bytes(one))):
        if points and _bytes(option) >= _bytes(points[-1]):
            continue
        while len(points) > 1 and _slope(points[-1], option) <= _slope(points[-2], points[-1]):
            points.pop()
        points.append(option)
    return points


def toml(proposal: Proposal, prune: PruneSection | None, share: ShareSection | None) -> str:
    """The tables of a recipe, to be pasted behind it; what it cannot take as well is a comment.

    Args:
        proposal: whose layers are all named, those that keep their weights with a sparsity of 0.
        prune: the recipe's own section; one is written where there is none.
        share: likewise.
    """
    zeros = {name: one.sparsity for name, one in proposal.layers.items()}
    steps = {name: one.step for name, one in proposal.layers.items() if one.step is not None}
    lines = ["# From `edgewright sensitivity`: paste it behind the recipe, and train."]
    lines += _tables("prune", prune, zeros, "epochs = 8\nlr = 0.05")
    if share is not None and share.levels == "kmeans":
        lines += ["", '# No [share.layers]: code books (levels = "kmeans") have no steps.']
    elif len(steps) == len(zeros):
        lines += _tables("share", share, steps, "epochs = 4\nlr = 0.02")
    return "\n".join(lines) + "\n"


def _tables(
    name: str, own: PruneSection | ShareSection | None, values: Mapping[str, float], keys: str
) -> list[str]:
    """The lines of a section: all of it, its layers alone, or those as a comment."""
    layers = [f"[{name}.layers]", *(f'"{layer}" = {value}' for layer, value in values.items())]
    if own is None:
        return ["", f"[{name}]", *keys.splitlines(), "", *layers]
    if "layers" in own.model_fields_set:
        told = f"In place of the recipe's own [{name}.layers], which must go first:"
        return ["", *(f"# {line}" for line in (told, *layers))]
    return ["", *layers]


def _options(layer: LayerCurve, module: nn.Module, loss: float) -> list[Option]:
    """Every sparsity with every step; their losses are added up, and never fall along a scan."""
    zeros = [(0.0, 0.0), *_rising(layer.sparsities, loss)]
    steps: list[tuple[float | None, float]] = [*_rising(layer.steps, loss)] or [(None, 0.0)]
    return [
        Option(
            Setting(sparsity=zero, step=step, coded_bytes=coded_bytes(module, zero, step)),
            zero_loss + step_loss,
        )
        for zero, zero_loss in zeros
        for step, step_loss in steps
    ]


def _rising(points: Sequence[Point], loss: float) -> list[tuple[float, float]]:
    """Values with what they add to the loss: what a smaller one has cost, a larger one does."""
    rises = accumulate((max(0.0, point.loss - loss) for point in points), max)
    return [(point.value, rise) for point, rise in zip(points, rises, strict=True)]


def _bytes(option: Option) -> float:
    return option.setting.coded_bytes


def _slope(before: Option, after: Option) -> float:
    return (after.loss - before.loss) / (_bytes(before) - _bytes(after))
