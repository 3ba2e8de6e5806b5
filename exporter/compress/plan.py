"""What a compressor shall do, and when: counted in optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from exporter.compress.criteria import criterion_of, pattern_of
from exporter.compress.schedule import Ramp, share_at, sparsity_at
from exporter.errors import RecipeError

MOST_CODES = 116
"""Two for each level that a code book's values are rounded to."""


@dataclass(frozen=True)
class Levels:
    """Few levels for every weight.

    Attributes:
        kind: "uniform", one step for a layer; or "kmeans", a code book for a layer.
        step: of a layer's grid, in units of the root mean square of its live weights; "auto" finds
            one for each layer by rate and distortion, on calibration data. For "uniform".
        codes: how many values a code book has beside zero. For "kmeans".
        begin: how many optimizer steps after the first the weights are read through their levels.
        layers: steps of single layers in place of `step`, by name or pattern
            (`exporter.compress.names`). For "uniform".
    """

    kind: Literal["uniform", "kmeans"] = "uniform"
    step: float | Literal["auto"] = 0.35
    codes: int = 16
    begin: int = 0
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the steps and the code book's size."""
        for name, step in self.layers.items():
            if not step > 0:
                raise RecipeError(f"the step of '{name}' must be positive", found=str(step))
        if self.layers and self.kind != "uniform":
            raise RecipeError(
                "code books have no steps, and some are given for single layers",
                expected='levels of the kind "uniform"',
                found=self.kind,
            )
        if self.step != "auto" and not self.step > 0:
            raise RecipeError("the step of levels must be positive", found=str(self.step))
        if not 2 <= self.codes <= MOST_CODES:
            raise RecipeError(
                "a code book cannot have that many values",
                expected=f"2 to {MOST_CODES}",
                found=str(self.codes),
            )


@dataclass(frozen=True)
class Plan:
    """Pruning and levels over a training run.

    Attributes:
        ramps: sparsities to reach, one after another; none for no pruning.
        criterion: which weights go: "global", "uniform", "erk", or a pattern such as "2:4"; see
            `exporter.compress.criteria`.
        every: optimizer steps between two looks at the masks while sparsity grows.
        exempt: names of layers that keep all their weights, such as the first convolution.
        levels: few levels; None for none.
        layers: sparsities of single layers, by name or pattern (`exporter.compress.names`). Each of
            these loses its own smallest weights, as far along as the ramps are; the criterion and
            the ramps' sparsities are for the layers beside them.
    """

    ramps: tuple[Ramp, ...] = ()
    criterion: str = "global"
    every: int = 10
    exempt: tuple[str, ...] = ()
    levels: Levels | None = None
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check criterion, sparsities and counts."""
        criterion_of(self.criterion)
        for name, sparsity in self.layers.items():
            if not 0.0 <= sparsity < 1.0:
                raise RecipeError(
                    f"the sparsity of '{name}' is out of range",
                    expected="at least 0, below 1",
                    found=f"{sparsity:g}",
                )
        pattern = pattern_of(self.criterion)
        if pattern is not None and self.sparsity > pattern.sparsity:
            raise RecipeError(
                f"the pattern {self.criterion} cannot reach a sparsity of {self.sparsity:g}",
                expected=f"at most {pattern.sparsity:g}",
                found=f"{self.sparsity:g}",
                remedy="leave the sparsity out: the pattern says it",
            )
        if self.every < 1:
            raise RecipeError("`every` counts optimizer steps", found=str(self.every))

    @property
    def pruning_steps(self) -> int:
        """The optimizer step at which sparsity is at its end."""
        return sum(ramp.steps + ramp.hold for ramp in self.ramps) - (
            self.ramps[-1].hold if self.ramps else 0
        )

    @property
    def sparsity(self) -> float:
        """The sparsity at the end."""
        return self.ramps[-1].sparsity if self.ramps else 0.0

    def held_at(self, step: int) -> Plan:
        """The same plan with sparsities that stay what they are behind `step` steps."""
        reached, share = sparsity_at(self.ramps, step), share_at(self.ramps, step)
        return replace(
            self,
            # At least a step: a ramp of none is looked at again.
            ramps=(Ramp(reached, max(1, step)),),
            layers={name: share * sparsity for name, sparsity in self.layers.items()},
        )
