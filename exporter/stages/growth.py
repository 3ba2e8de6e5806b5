"""Sparsity that stops growing early: where the package is small enough, or accuracy gives way."""

from __future__ import annotations

from typing import Final

import torch

from exporter.compress import Compressor
from exporter.compress.codebook import fit_codes
from exporter.compress.coded_size import coded_size, weights_of
from exporter.compress.rate import REFERENCE
from exporter.compress.schedule import grows_at
from exporter.compress_recipe import PruneSection
from exporter.gate.units import BYTES
from exporter.stages.context import Context
from exporter.train.checkpoint import Tensors

LOOKS: Final = 40
"""At the package's size while sparsity grows: each costs some tenths of a second for millions of
weights."""
FITTED: Final = 1 << 16
"""Weights of a layer that a code book is fitted to for such a look."""


def warn_if_larger(context: Context, stage: str, coded: float, zeros: float) -> None:
    """Say where a package is more than `until` asks for, by its estimate behind a stage."""
    section = context.recipe.prune
    if section is not None and section.until is not None and coded > section.until:
        context.reporter.warn(
            f"{stage}: about {BYTES.format(round(coded))} at {zeros:.1%} zeros, more than until = "
            f"{BYTES.format(section.until)}; allow more sparsity"
        )


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
        self._codes = None
        if share is not None and share.levels == "kmeans":
            self._codes = share.codes
        elif share is not None and share.step != "auto":
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
        """Of the package, with the levels that `[share]` will give the weights.

        The step "auto" is counted as that whose error it spends on fewer bytes.
        """
        if self._codes is not None:
            return self._with_codes(self._codes)
        return self._compressor.coded_size(self._step_in_rms, self._layers).total

    def say_if_missed(self) -> None:
        """Warn where the size was not reached."""
        if self._section.until is not None:
            zeros = self._compressor.sparsity()
            warn_if_larger(self._context, "prune", self.coded_bytes(), zeros)

    def _with_codes(self, count: int) -> float:
        model = self._compressor.model
        steps: dict[int, float | None] = {}
        values = {}
        for name, weight in self._compressor.weights().items():
            own, live = id(model.get_parameter(name)), weight != 0
            book, steps[own] = fit_codes(weight, live, count, FITTED)
            values[own] = book.means(weight, live)
        return coded_size(weights_of(model, steps, values), self._compressor.structure).total

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
