"""Whether a network has lost what it had learned: its accuracy, against chance."""

from __future__ import annotations

from typing import Any, Final

import torch

from exporter.train.score import Score

LOST: Final = 0.5
"""Of what the accuracy was above chance: with less left, something is wrong."""


class Labelled:
    """A score that counts the labels it is asked about.

    Args:
        score: top-1.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._counts = torch.zeros(0, dtype=torch.int64)

    def __call__(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """The score, of outputs that the labels fit."""
        scores = self._score(outputs, targets)
        found = torch.bincount(targets.cpu().long(), minlength=len(self._counts))
        self._counts = found + torch.nn.functional.pad(
            self._counts, (0, len(found) - len(self._counts))
        )
        return scores

    @property
    def chance(self) -> float:
        """The accuracy of naming the commonest class every time."""
        return int(self._counts.max()) / int(self._counts.sum()) if len(self._counts) else 0.0


def has_collapsed(accuracy: float, before: float, chance: float) -> bool:
    """Whether accuracy lies nearer to chance than to what it was; never for one that was chance."""
    return before > chance and accuracy < before - LOST * (before - chance)
