"""How sparsity grows over training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.errors import RecipeError


@dataclass(frozen=True)
class Ramp:
    """A stretch of training in which sparsity grows to a value.

    Attributes:
        sparsity: share of zeros at its end, in [0, 1).
        steps: optimizer steps that it takes; 0 is at once.
        hold: optimizer steps after it in which sparsity stays, before the next ramp begins.
    """

    sparsity: float
    steps: int
    hold: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0.0 <= self.sparsity < 1.0:
            raise RecipeError(
                "a sparsity is out of range",
                expected="at least 0, below 1",
                found=f"{self.sparsity}",
            )
        if self.steps < 0 or self.hold < 0:
            raise RecipeError(
                "a ramp cannot take a negative number of steps", found=f"{self.steps}, {self.hold}"
            )


def cubic(progress: float, final: float, initial: float = 0.0) -> float:
    """Sparsity at `progress` in [0, 1]: fast at first, slow at the end.

    s(t) = s_f + (s_i - s_f) * (1 - t)^3 (Zhu and Gupta, arXiv:1710.01878, equation 1).
    """
    progress = min(max(progress, 0.0), 1.0)
    return float(final + (initial - final) * (1.0 - progress) ** 3)


def sparsity_at(ramps: Sequence[Ramp], step: int) -> float:
    """Sparsity behind `step` optimizer steps of ramps that follow each other, each cubic."""
    reached = 0.0
    for ramp in ramps:
        if step < ramp.steps:
            return cubic(step / ramp.steps, ramp.sparsity, reached)
        reached = ramp.sparsity
        step -= ramp.steps + ramp.hold
        if step < 0:
            break
    return reached


def share_at(ramps: Sequence[Ramp], step: int) -> float:
    """How much of the last sparsity is reached behind `step` steps, in [0, 1].

    Where the ramps go to no sparsity at all, their cubics to 1: layers may have sparsities of their
    own while all others keep their weights.
    """
    final = ramps[-1].sparsity if ramps else 0.0
    if final > 0.0:
        return min(1.0, sparsity_at(ramps, step) / final)
    steps = sum(ramp.steps + ramp.hold for ramp in ramps)
    return cubic(step / steps, 1.0) if steps else 1.0


def grows_at(ramps: Sequence[Ramp], step: int, every: int) -> bool:
    """Whether masks are looked at behind `step` steps: every so often in a ramp, and at its end."""
    begin = 0
    for ramp in ramps:
        end = begin + ramp.steps
        if begin < step <= end or step == end == 0:
            return (step - begin) % every == 0 or step == end
        begin = end + ramp.hold
    return False
