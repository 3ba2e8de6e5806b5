"""Sparsity that stops growing early: where the package is small enough, or accuracy gives way."""

from __future__ import annotations

from typing import Final

import torch

from exporter.compress import Compressor
from exporter.compress.rate import REFERENCE
from exporter.compress.schedule import grows_at
from exporter.compress_recipe import PruneSection
from exporter.gate.units import BYTES
from exporter.stages.context import Context
from exporter.train.checkpoint import Tensors

LOOKS: Final = 40
"""At the package's size while sparsity grows: each costs some tenths of a second for millions of
weights."""


class Growth:
    """Follows a compressor through `[prune]`. Its state goes into checkpoints.

    Args:
        context: of the build.
        section: `until` and `accuracy_floor` end the growth; the rest of the epochs is training at
            the sparsity that is reached.
        compressor: its plan is cut short.
    """

    def __init__(self, context: Context, section: PruneSection, compressor: Compressor) -> None:
        self._context, self._section, self._compressor = context, section, compressor
        self._end = compressor.plan.pruning_steps
        self._looked = 0
        share = context.recipe.share
        self._layers = {} if share is None else share.layers
        self._step_in_rms = None if share is None else REFERENCE
        if share is not None and share.levels == "uniform" and share.step != "auto":
            self._step_in_rms = share.step

    def after_step(self, step: int, steps: int) -> None:
        """Let the compressor do its part, and look at the size every so often."""
        grew = grows_at(self._compressor.plan.ramps, step, self._compressor.plan.every)
        self._compressor.step()
        if self._section.until is None or step > self._end or not grew:
            return
        if step - self._looked >= self._end / LOOKS or step == self._end:
            self._looked = step
            if self.coded_bytes() <= self._section.until:
                self._hold(step)

    def judge(self, accuracy: float | None, coded: int | None) -> bool:
        """Behind an epoch: hold where accuracy is below the floor. Training goes on in any case."""
        floor, step = self._section.accuracy_floor, self._compressor.steps_done
        if floor is not None and accuracy is not None and accuracy < floor and step < self._end:
            self._hold(step)
            self._context.reporter.warn(
                f"prune: accuracy {accuracy:.2%} is below the floor of {floor:.2%}: sparsity "
                f"stays at {self._compressor.sparsity():.1%}"
            )
        return False

    def whole(self, step: int, steps: int) -> bool:
        """Whether sparsity has reached its end."""
        return step >= self._end

    def coded_bytes(self) -> float:
        """Of the package, with the levels that `[share]` will give the weights."""
        return self._compressor.coded_size(self._step_in_rms, self._layers).total

    def say_if_missed(self) -> None:
        """Warn where the size was not reached."""
        until = self._section.until
        if until is None:
            return
        coded = self.coded_bytes()
        if coded > until:
            self._context.reporter.warn(
                f"prune: about {BYTES.format(round(coded))} at "
                f"{self._compressor.sparsity():.1%} zeros, more than until = "
                f"{BYTES.format(until)}; allow more sparsity"
            )

    def state_dict(self) -> Tensors:
        """Where the growth ends, and when the size was looked at last."""
        return {"end": torch.tensor(self._end), "looked": torch.tensor(self._looked)}

    def load_state_dict(self, state: Tensors) -> None:
        """Take that back."""
        self._looked = int(state["looked"])
        if int(state["end"]) != self._end:
            self._hold(int(state["end"]))

    def _hold(self, step: int) -> None:
        self._compressor.plan = self._compressor.plan.held_at(step)
        self._end = step
