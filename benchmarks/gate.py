"""The latency verdict: how often it calls a file worse that is not, and misses one that is.

Comparisons are simulated: each draws as many rounds of a file and its baseline as the row says,
with that kind of noise, and asks `exporter.gate.statistics.compare`. `measured` noise is no model:
it is drawn from times of one fixed computation on this machine. A round is two samples, one a side.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.results import Value, arguments, publish
from exporter.gate.statistics import ERROR_RATE, compare, self_test

COMPARISONS: Final = 1000
QUICK_COMPARISONS: Final = 200
NOISE: Final = 0.03
WINDOWS: Final = 200
WINDOW_RUNS: Final = 15

Array = np.ndarray
Row = dict[str, Value]


@dataclass(frozen=True)
class Case:
    """One row: a true slowdown, what is allowed, and the rounds; shares, 0.1 for 10 %."""

    slowdown: float
    allowed: float
    rounds: int


SAME: Final = (Case(0.0, 0.0, 10), Case(0.0, 0.0, 30), Case(0.0, 0.02, 30), Case(0.0, 0.05, 30))
SLOWER: Final = (Case(0.10, 0.02, 15), Case(0.10, 0.02, 30), Case(0.10, 0.05, 30))


def main() -> None:
    """Simulate every row; print and write the table."""
    options = arguments(__doc__).parse_args()
    count = QUICK_COMPARISONS if options.quick else COMPARISONS
    publish("gate", [*simulated(count), *measured(count)], options)


def simulated(count: int) -> Iterator[Row]:
    """One row for each kind of noise and case."""
    for name, noise in NOISES.items():
        for case in (*SAME, *SLOWER):
            answers: Counter[str] = Counter()
            generator = np.random.default_rng(0)
            for _ in range(count):
                new = noise(generator, case.rounds) * (1 + case.slowdown)
                answers[_answer(new, noise(generator, case.rounds), case)] += 1
            yield _row(name, case, answers, count)


def measured(count: int) -> Iterator[Row]:
    """One row for each case of no slowdown, over times that were measured here."""
    samples = windows()
    for case in SAME:
        worse = self_test(samples, rounds=case.rounds, tolerance=case.allowed, comparisons=count)
        yield _row("measured", case, Counter(worse=worse), count)


def windows() -> tuple[float, ...]:
    """Medians, in ms, of windows over one fixed computation, a few ms each."""
    values = np.random.default_rng(0).normal(size=(96, 96))

    def window() -> float:
        times = []
        for _ in range(WINDOW_RUNS):
            start = time.perf_counter_ns()
            np.linalg.svd(values, compute_uv=False)
            times.append((time.perf_counter_ns() - start) / 1e6)
        return sorted(times)[WINDOW_RUNS // 2]

    window()  # warm
    return tuple(window() for _ in range(WINDOWS))


def _gauss(generator: np.random.Generator, rounds: int) -> Array:
    return np.exp(generator.normal(0.0, NOISE, rounds))


def _spikes(generator: np.random.Generator, rounds: int) -> Array:
    """One sample in ten is longer, by half on average: something else ran."""
    hit = generator.random(rounds) < 0.1
    return _gauss(generator, rounds) * (1 + hit * generator.exponential(0.5, rounds))


def _one_sided(generator: np.random.Generator, rounds: int) -> Array:
    """Never faster than the best, with a long tail: what times look like."""
    return 1 + generator.exponential(NOISE, rounds)


def _two_clocks(generator: np.random.Generator, rounds: int) -> Array:
    """Three samples in ten at a lower clock, a tenth slower."""
    return _gauss(generator, rounds) * np.where(generator.random(rounds) < 0.3, 1.1, 1.0)


NOISES: Final[dict[str, Callable[[np.random.Generator, int], Array]]] = {
    "normal, 3 %": _gauss,
    "spikes": _spikes,
    "one-sided": _one_sided,
    "two clocks": _two_clocks,
}


def _answer(new: Array, baseline: Array, case: Case) -> str:
    return compare(new.tolist(), baseline.tolist(), tolerance=case.allowed).answer


def _row(noise: str, case: Case, answers: Counter[str], count: int) -> Row:
    known = sum(answers.values()) == count
    return {
        "noise": noise,
        "slowdown_share": case.slowdown,
        "allowed_share": case.allowed,
        "samples": 2 * case.rounds,
        "comparisons": count,
        "worse_share": answers["worse"] / count,
        "better_or_equal_share": answers["better or equal"] / count if known else None,
        "inconclusive_share": answers["inconclusive"] / count if known else None,
        "stated_error_share": ERROR_RATE,
    }


if __name__ == "__main__":
    main()
