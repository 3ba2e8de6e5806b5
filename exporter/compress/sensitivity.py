"""Which layers can spare what: loss, accuracy and coded bytes, one layer changed at a time.

Each layer is pruned to a few sparsities, or read through a few steps, while all others stay as they
are and nothing is retrained (H. Li et al., "Pruning Filters for Efficient ConvNets",
arXiv:1608.08710, section 3.2, have such curves for filters). Losses of single layers do not add up,
and training takes back most of each: the scan ranks layers, and what it proposes for all of them is
measured together as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from exporter.build import Frozen
from exporter.compress.coded_size import Weight, weights_size
from exporter.compress.layer import layers_by_weight
from exporter.compress.levels import layer_step, to_levels
from exporter.compress.magnitude import check_finite, layer_masks
from exporter.modules import evaluating
from exporter.train import CLASSIFICATION, Task

SPARSITIES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
STEPS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""In units of the root mean square of a layer's weights."""

Batch = tuple[torch.Tensor, torch.Tensor]
Advance = Callable[[int, str], None]


class Point(Frozen):
    """One setting of one layer: a sparsity or a step, and what comes of it.

    `loss` is the mean cross entropy in nats, `accuracy` is in [0, 1], `coded_bytes` are our coder's
    estimate for this layer's integers, coded alone.
    """

    value: float
    loss: float
    accuracy: float
    coded_bytes: float


class LayerCurve(Frozen):
    """One layer: its size, its coded bytes as plain int8, and what it can spare."""

    name: str
    weights: int
    coded_bytes: float
    sparsities: tuple[Point, ...]
    steps: tuple[Point, ...]


class Scan(Frozen):
    """All layers in the order of the model, and the network as it is."""

    samples: int
    loss: float
    accuracy: float
    layers: tuple[LayerCurve, ...]


def scan(
    model: nn.Module,
    batches: Sequence[Batch],
    sparsities: Sequence[float] = SPARSITIES,
    steps: Sequence[float] = STEPS,
    advance: Advance = lambda done, note: None,
    task: Task = CLASSIFICATION,
) -> Scan:
    """Change one layer at a time and look.

    Args:
        model: a trained network; its weights are as before afterwards.
        batches: inputs as the model takes them, with their targets.
        sparsities: in [0, 1).
        steps: above 0.
        advance: told of each measurement: there are layers x (sparsities + steps).
        task: what the network is for.

    Raises:
        WeightError: a weight that is not finite.
    """
    check_finite(model.named_parameters())
    loss, accuracy = measure(model, batches, task)
    layers = []

    def at(name: str, module: Any, sparsity: float, step: float | None) -> Point:
        with changed(module, sparsity, step):
            found = measure(model, batches, task)
        size = coded_bytes(module, sparsity, step)
        advance(1, name)
        value = sparsity if step is None else step
        return Point(value=value, loss=found[0], accuracy=found[1], coded_bytes=size)

    for name, module in prunable(model).items():
        layers.append(
            LayerCurve(
                name=name,
                weights=module.weight.numel(),
                coded_bytes=coded_bytes(module, 0.0, None),
                sparsities=tuple(at(name, module, one, None) for one in sorted(sparsities)),
                steps=tuple(at(name, module, 0.0, one) for one in sorted(steps)),
            )
        )
    samples = sum(len(targets) for _, targets in batches)
    return Scan(samples=samples, loss=loss, accuracy=accuracy, layers=tuple(layers))


def prunable(model: nn.Module) -> dict[str, Any]:
    """The layers that compression takes, by name; of those that share a weight the first."""
    return dict(next(iter(sharing.items())) for sharing in layers_by_weight(model))


@torch.no_grad()
def measure(
    model: nn.Module, batches: Sequence[Batch], task: Task = CLASSIFICATION
) -> tuple[float, float]:
    """The mean loss (cross entropy in nats), and the mean score (accuracy) in [0, 1]."""
    loss = score = 0.0
    with evaluating(model):
        for inputs, targets in batches:
            outputs = model(inputs)
            loss += float(task.loss(outputs, targets)) * len(targets)
            score += float(task.score(outputs, targets).sum())
    samples = sum(len(targets) for _, targets in batches)
    return loss / samples, score / samples


@torch.no_grad()
def weight_at(module: Any, sparsity: float, step: float | None) -> torch.Tensor:
    """A layer's weight, pruned by magnitude and then rounded to a step in units of its RMS."""
    weight: torch.Tensor = module.weight.detach()
    if sparsity > 0:
        weight = weight * layer_masks({"": weight}, {"": 1.0 - sparsity})[""]
    if step is None:
        return weight
    size = layer_step(weight, step)
    return to_levels(weight, size) * size


@contextmanager
def changed(module: Any, sparsity: float, step: float | None) -> Iterator[None]:
    """The layer with another weight, for a while."""
    before = module.weight.data
    module.weight.data = weight_at(module, sparsity, step)
    try:
        yield
    finally:
        module.weight.data = before


def coded_bytes(module: Any, sparsity: float, step: float | None) -> float:
    """What our coder makes of a layer alone, at a setting."""
    weight = weight_at(module, sparsity, None)
    groups = getattr(module, "groups", 1)
    grid = None if step is None else layer_step(weight, step)
    return weights_size([Weight(weight, grid, groups == 1 or groups != len(weight))])
