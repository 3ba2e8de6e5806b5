"""How good a network's answers are: top-1, or a measure of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from exporter.errors import RecipeError
from exporter.train.labels import check_classes, cross_entropy

Score = Callable[[Any, torch.Tensor], torch.Tensor]
"""Of (outputs, targets): a number in [0, 1] for each sample, [N]."""

Loss = Callable[[Any, torch.Tensor], torch.Tensor]
"""Of (outputs, targets): a scalar, the mean over the batch."""


def top1(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """1 where the largest output is the target's, else 0.

    Raises:
        RecipeError: the outputs are not [N, classes], or the targets are no classes.
    """
    check_classes(outputs, targets)
    return (outputs.argmax(1) == targets).double()


@dataclass(frozen=True)
class Task:
    """What a network is for: what training makes small, and what counts. Classification, or else.

    Attributes:
        loss: of a batch.
        score: of each sample.
    """

    loss: Loss = cross_entropy
    score: Score = top1


CLASSIFICATION: Final = Task()


def own_score(name: str, score: Score) -> Score:
    """A user's score, whose every answer is looked at.

    Raises:
        RecipeError: from the result, when the score fails or gives anything but [N] in [0, 1].
    """

    def checked(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        found = _answer(name, score, outputs, targets)
        good = torch.is_tensor(found) and found.shape == (len(targets),)
        if not good or not bool(((found >= 0) & (found <= 1)).all()):
            raise RecipeError(
                f"[data] score '{name}' gives no score",
                expected=f"a tensor [{len(targets)}], a number from 0 to 1 for each sample",
                found=_told(found),
                remedy="score each sample by itself; the mean is taken afterwards",
            )
        return found.double()

    return checked


def own_loss(name: str, loss: Loss) -> Loss:
    """A user's loss, whose every answer is looked at.

    Raises:
        RecipeError: from the result, when the loss fails or gives anything but a scalar.
    """

    def checked(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        found = _answer(name, loss, outputs, targets)
        if not torch.is_tensor(found) or found.dim() != 0:
            raise RecipeError(
                f"[data] loss '{name}' gives no loss",
                expected="a tensor without dimensions: the mean over the batch",
                found=_told(found),
            )
        return found

    return checked


def _answer(
    name: str, asked: Callable[..., torch.Tensor], outputs: Any, targets: torch.Tensor
) -> torch.Tensor:
    try:
        return asked(outputs, targets)
    except RecipeError:
        raise
    except Exception as error:
        given = _told(outputs)
        raise RecipeError(
            f"'{name}' fails",
            expected=f"a callable of (outputs, targets): here {given} and {_told(targets)}",
            found=f"{type(error).__name__}: {error}",
        ) from error


def _told(value: Any) -> str:
    """A value by its shape."""
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_told, value))})"
    if not torch.is_tensor(value):
        return type(value).__name__
    ends = ""
    if value.numel() and not value.dtype.is_complex:
        ends = f", from {float(value.min()):.3g} to {float(value.max()):.3g}"
    return f"{list(value.shape)}{ends}"
