"""Steps by rate and distortion: coarse where the output hardly notices, fine where it does.

For every layer and each of a few steps, the error that rounding its weights makes in the layer's
own output is measured on calibration data, and the bytes are counted at the integers' entropy. The
steps chosen minimise all bytes for the error, added up over layers, that one step for all would
make: a Lagrangian sum, whose factor is found by bisection (Y. Shoham, A. Gersho, "Efficient bit
allocation for an arbitrary set of quantizers", IEEE Trans. ASSP 36, 1988).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from exporter.compress.layer import Layer
from exporter.compress.levels import layer_step, to_levels
from exporter.modules import evaluating

REFERENCE = 0.35
CANDIDATES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.75, 0.9)
"""Steps in units of the root mean square of a layer's live weights."""
BISECTIONS = 60


@dataclass(frozen=True)
class Choice:
    """A step for a layer.

    Attributes:
        step_in_rms: in units of the root mean square of the live weights.
        bits: of the layer's integers at their entropy.
        error: of the layer's output, over the output's energy.
    """

    step_in_rms: float
    bits: float
    error: float


@torch.no_grad()
def choose_steps(
    model: nn.Module,
    layers: Mapping[str, Layer],
    batches: Iterable[Any],
    to_model: Callable[[torch.Tensor], torch.Tensor] | None = None,
    *,
    reference: float = REFERENCE,
    candidates: Sequence[float] = CANDIDATES,
) -> dict[str, Choice]:
    """A step for each layer.

    Args:
        model: whose layers have no levels yet; run in evaluation mode, and left in its own.
        layers: to choose for, by name.
        batches: of inputs or (inputs, ...); a few are enough.
        to_model: turns inputs into what the model takes; None where they are that.
        reference: the step for all whose error is the budget.
        candidates: the steps to choose among, beside `reference`.
    """
    steps = tuple(sorted({*candidates, reference}))
    errors = _measure(model, layers, batches, to_model, steps)
    choices = {
        name: [
            Choice(step, _bits(layer, step), float(error))
            for step, error in zip(steps, errors[name], strict=True)
        ]
        for name, layer in layers.items()
    }
    at = steps.index(reference)
    budget = sum(of_layer[at].error for of_layer in choices.values())
    return _cheapest(choices, budget)


def _measure(
    model: nn.Module,
    layers: Mapping[str, Layer],
    batches: Iterable[Any],
    to_model: Callable[[torch.Tensor], torch.Tensor] | None,
    candidates: tuple[float, ...],
) -> dict[str, torch.Tensor]:
    """Each layer's output error for each candidate, over the output's energy, [candidates]."""
    energy: dict[str, float] = dict.fromkeys(layers, 0.0)
    errors = {name: torch.zeros(len(candidates), dtype=torch.float64) for name in layers}

    def watch(name: str, layer: Layer) -> Callable[..., None]:
        def hook(module: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            energy[name] += float(output.double().square().sum())
            for place, candidate in enumerate(candidates):
                step = layer_step(layer.latent, candidate)
                moved = to_levels(layer.latent, step) * step - layer.latent
                errors[name][place] += float(_apply(module, inputs[0], moved).square().sum())

        return hook

    hooks = [
        module.register_forward_hook(watch(name, layer))
        for name, layer in layers.items()
        for module in layer.modules
    ]
    try:
        with evaluating(model):
            for batch in batches:
                inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
                model(inputs if to_model is None else to_model(inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: errors[name] / max(energy[name], 1e-30) for name in layers}


def _apply(module: Any, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What a layer makes of inputs with another weight and no bias."""
    if isinstance(module, nn.Conv2d):
        return module._conv_forward(inputs, weight, None)
    return nn.functional.linear(inputs, weight)


def _bits(layer: Layer, step_in_rms: float) -> float:
    """The layer's integers at their order-0 entropy, in bits."""
    integers = to_levels(layer.latent, layer_step(layer.latent, step_in_rms))
    _, counts = integers.unique(return_counts=True)
    shares = counts.double() / counts.sum()
    return float(-(counts * shares.log2()).sum())


def _cheapest(choices: dict[str, list[Choice]], budget: float) -> dict[str, Choice]:
    """The least bits for an error of at most `budget` in all."""
    low, high = 0.0, 1.0
    while _error(_at(choices, high)) > budget and high < 1e30:
        high *= 4.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _error(_at(choices, middle)) > budget:
            low = middle
        else:
            high = middle
    return _at(choices, high)


def _at(choices: dict[str, list[Choice]], price: float) -> dict[str, Choice]:
    """The least sum of bits and error at a price of the error, in bits."""
    return {
        name: min(of_layer, key=lambda one: one.bits + price * one.error)
        for name, of_layer in choices.items()
    }


def _error(chosen: dict[str, Choice]) -> float:
    return sum(choice.error for choice in chosen.values())
