"""The sections of a recipe that say how a network becomes smaller: channels, zeros, few levels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from exporter.build import Frozen
from exporter.fit_recipe import Count, FitSection, Positive, Share
from exporter.gate.units import BYTES, SHARE


class PruneRamp(Frozen):
    """One entry of `[prune] ramps`: sparsity grows to a value over `epochs`, then stays a while."""

    sparsity: Share
    epochs: Positive
    hold: Annotated[float, Field(ge=0)] = 0


class ChannelsSection(FitSection):
    """`[channels]`: whole channels go, and the narrower network is trained on.

    One of `macs`, `parameters` and `target_ms` says how far; the last goes by the file `times`.
    """

    macs: Annotated[float, Field(gt=0, lt=1)] | None = None
    parameters: Annotated[float, Field(gt=0, lt=1)] | None = None
    target_ms: Positive | None = None
    times: Path | None = None
    importance: Literal["magnitude", "batch_norm", "taylor"] = "magnitude"
    scope: Literal["global", "uniform"] = "global"
    multiple: Count = 16
    least: Annotated[float, Field(gt=0, le=1)] = 0.25
    exempt: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_target(self) -> ChannelsSection:
        targets = (self.macs, self.parameters, self.target_ms)
        if sum(target is not None for target in targets) != 1:
            raise ValueError("expected one of: macs, parameters, target_ms")
        if (self.target_ms is None) != (self.times is None):
            raise ValueError(
                "expected target_ms and times, a file of measured layer times, together"
            )
        return self


class PruneSection(FitSection):
    """`[prune]`: gradual pruning by magnitude over the first part of its epochs.

    `sparsity` is reached by one ramp over the share `ramp` of the epochs; `ramps` in its place are
    several, one after another, and the epochs that they leave are trained at the last sparsity.
    `criterion` says which weights go: "global", the smallest of the network; "uniform", of each
    layer; "erk", to densities by shape; or a pattern such as "2:4", whose sparsity is implied.
    Sparsity stops growing where the coded weights are down to `until` bytes, or where accuracy
    falls below `accuracy_floor`. Layers that `layers` names or matches go to sparsities of their
    own, and the others by the criterion; where `sparsity` is left out then, those keep all weights.
    """

    sparsity: Share | None = None
    criterion: str = "global"
    until: Annotated[int, BeforeValidator(BYTES.parse)] | None = None
    accuracy_floor: Annotated[float, BeforeValidator(SHARE.parse)] | None = None
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.6
    ramps: tuple[PruneRamp, ...] = ()
    every: Count = 10
    exempt: tuple[str, ...] = ()
    layers: dict[str, Share] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_target(self) -> PruneSection:
        pattern = re.fullmatch(r"(\d+):(\d+)", self.criterion)
        if pattern is None and self.criterion not in ("global", "uniform", "erk"):
            raise ValueError(
                'expected criterion = "global", "uniform", "erk" or a pattern such as "2:4"'
            )
        if pattern is not None and not 0 < int(pattern[1]) < int(pattern[2]):
            raise ValueError("expected a pattern N:M with 0 < N < M")
        targets = [self.sparsity is not None, bool(self.ramps), pattern is not None]
        if sum(targets) != 1 and not (self.layers and not any(targets)):
            raise ValueError(
                "expected one of: sparsity, ramps, or a pattern as the criterion; or layers alone"
            )
        if sum(ramp.epochs + ramp.hold for ramp in self.ramps) > self.epochs:
            raise ValueError("the epochs of all ramps are more than epochs")
        return self


class ShareSection(FitSection):
    """`[share]`: few levels, trained through.

    `levels` = "uniform" is one step a layer, in units of its weights' root mean square, or "auto":
    found for each layer by rate and distortion. "kmeans" is a code book of `codes` values a layer.
    Layers that `layers` names or matches have steps of their own.
    """

    levels: Literal["uniform", "kmeans"] = "uniform"
    step: Positive | Literal["auto"] = 0.35
    codes: Annotated[int, Field(ge=2, le=116)] = 16
    layers: dict[str, Positive] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _steps_of_levels(self) -> ShareSection:
        if self.layers and self.levels != "uniform":
            raise ValueError('layers have steps: expected levels = "uniform"')
        return self
