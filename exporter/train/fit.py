"""The fit loop, on Hugging Face accelerate: one process here, more with its launcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ToModel = Callable[[torch.Tensor], torch.Tensor]
AfterStep = Callable[[int, int], None]
OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class FitSettings:
    """SGD with Nesterov momentum and a cosine learning rate with a short warm-up.

    Attributes:
        epochs: passes over the training data.
        lr: the largest learning rate.
        momentum: of SGD.
        weight_decay: of the weights.
        warmup: share of the steps over which the learning rate rises.
    """

    epochs: float
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1


def fit(
    module: nn.Module,
    loader: DataLoader[Any],
    settings: FitSettings,
    *,
    to_model: ToModel,
    loss: Loss,
    after_step: AfterStep | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train a module in place.

    Args:
        module: in the mode that it shall train in.
        loader: batches of (inputs, targets).
        settings: how long and how fast.
        to_model: turns a batch of inputs into what the module takes.
        loss: of (outputs, targets), a scalar.
        after_step: called with (step, steps) behind each optimizer step: pruning hooks in here.
        on_step: called with (steps done, loss), for progress bars.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    from accelerate import Accelerator

    accelerator = Accelerator()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
    )
    steps = max(1, round(settings.epochs * len(loader)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_cosine(steps, settings.warmup))
    ready, optimizer, loader = accelerator.prepare(module, optimizer, loader)
    for step, (inputs, targets) in zip(range(steps), _forever(loader), strict=False):
        value = loss(ready(to_model(inputs)), targets)
        if not bool(torch.isfinite(value)):
            raise FloatingPointError(f"the loss is {float(value)} at step {step}: lower the rate")
        optimizer.zero_grad()
        accelerator.backward(value)
        optimizer.step()
        schedule.step()
        if after_step is not None:
            after_step(step + 1, steps)
        if on_step is not None:
            on_step(step + 1, float(value.detach()))


def _forever(loader: Iterable[Any]) -> Iterable[Any]:
    while True:
        yield from loader


def _warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    rise = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = (step - rise) / max(1, steps - rise)
        return 0.5 * (1.0 + float(torch.cos(torch.tensor(progress * torch.pi))))

    return factor


def evaluate(module: nn.Module, loader: Iterable[Any], to_model: ToModel) -> float:
    """Top-1 accuracy of a module in evaluation mode, in [0, 1]."""
    was_training = module.training
    module.eval()
    correct = seen = 0
    with torch.no_grad():
        for inputs, targets in loader:
            predicted = module(to_model(inputs)).argmax(1)
            correct += int((predicted == targets).sum())
            seen += len(targets)
    module.train(was_training)
    return correct / max(1, seen)
