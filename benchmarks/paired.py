"""Paired, interleaved measuring: A B A B, medians, and the ratio with its interval.

What disturbs a machine (clock, temperature, other programs) changes slowly: contenders that take
turns are disturbed alike, and the ratio inside each round stays honest where the two times would
not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95

Measure = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """How many times A is B: the ratio of medians, with a 95 % bootstrap interval over rounds."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Rounds:
    """What each contender measured, one value a round, in the order of the rounds."""

    values: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """The median over the rounds."""
        return float(np.median(self.values[name]))

    def ratio(self, a: str, b: str, *, seed: int = 0) -> Ratio:
        """The median of `a` over the median of `b`.

        The interval resamples whole rounds, so that what disturbed both in one round stays
        together (the percentile bootstrap of paired data; Efron and Tibshirani, An Introduction to
        the Bootstrap, chapter 13). One round gives no interval but the value itself.
        """
        first, second = np.asarray(self.values[a]), np.asarray(self.values[b])
        rounds = len(first)
        picks = np.random.default_rng(seed).integers(0, rounds, size=(RESAMPLES, rounds))
        ratios = np.median(first[picks], axis=1) / np.median(second[picks], axis=1)
        tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
        low, high = np.percentile(ratios, [tail, 100.0 - tail])
        return Ratio(self.median(a) / self.median(b), float(low), float(high))


def interleaved(contenders: Mapping[str, Measure], rounds: int, *, warmup: int = 1) -> Rounds:
    """Let contenders take turns.

    Args:
        contenders: each measures once when called, and gives the value (see `timed`).
        rounds: how many times each measures.
        warmup: rounds before, which are not kept.

    Raises:
        ValueError: no contender, or no round.
    """
    if not contenders or rounds < 1:
        raise ValueError(f"expected contenders and rounds, found {len(contenders)} and {rounds}")
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warmup, rounds):
        for name, measure in contenders.items():
            value = measure()
            if number >= 0:
                values[name].append(value)
    return Rounds({name: tuple(kept) for name, kept in values.items()})


def timed(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Measure:
    """A measure of `call` in seconds; `time.process_time` counts CPU seconds of all threads."""

    def measure() -> float:
        start = clock()
        call()
        return clock() - start

    return measure
