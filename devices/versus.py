"""Measures files in turns, A B B A, so that what disturbs one disturbs the other as much.

Each turn is a fresh process, and what comes first in one round comes last in the next. The ratio of
two files' medians within one round is free of what changes from round to round, and the rounds'
ratios tell how sure their median is.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.session import Benched, Session
from runtimes.report import BenchReport, Measurement
from runtimes.timing import summarise

ROUNDS = 10
LEAST_ROUNDS = 6  # fewer cannot bound a median with 95 % confidence
CONFIDENCE = 0.95
MIN_RUNS = 5  # of a turn


@dataclass(frozen=True)
class Ratio:
    """A file's time over the baseline's: the median of the rounds, and bounds of 95 %."""

    artifact: str
    baseline: str
    rounds: int
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Versus:
    """What was measured in turns: each file as one measurement, the baseline's first."""

    benched: tuple[Benched, ...]
    ratios: tuple[Ratio, ...]


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and bounds that hold the true one with 95 % confidence or more.

    The bounds are the k-th smallest and largest value: the number of values below the true median
    is binomial (n, 1/2) whatever the distribution (Conover, Practical Nonparametric Statistics,
    3.2).

    Raises:
        ValueError: fewer than LEAST_ROUNDS values.
    """
    count = len(values)
    if count < LEAST_ROUNDS:
        raise ValueError(f"{count} values cannot bound a median: {LEAST_ROUNDS} or more can")
    ordered = sorted(values)
    rank, below = 0, 1
    # below / 2^n is the chance of `rank` or fewer values on one side.
    while below * 2 <= (1 - CONFIDENCE) * 2**count:
        rank += 1
        below += math.comb(count, rank)
    rank -= 1
    return statistics.median(ordered), ordered[rank], ordered[count - 1 - rank]


def bench_in_turns(
    session: Session,
    baseline: Path,
    files: Sequence[Path],
    *,
    threads: int = 1,
    seconds: float = 10.0,
    rounds: int = ROUNDS,
    progress: Callable[[Path, Measurement], None] | None = None,
) -> Versus:
    """Measure the baseline and the files in turns; each gets `seconds` in all.

    Raises:
        EdgewrightError: the device failed, or refused a file.
        ValueError: fewer than LEAST_ROUNDS rounds.
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(f"{rounds} rounds are too few: {LEAST_ROUNDS} or more")
    turns: list[list[Benched]] = [[] for _ in (baseline, *files)]
    for turn in range(rounds):
        order = list(zip(turns, (baseline, *files), strict=True))
        for taken, path in order if turn % 2 == 0 else reversed(order):
            taken.append(
                session.bench(path, threads=threads, seconds=seconds / rounds, min_runs=MIN_RUNS)
            )
            if progress is not None:
                progress(path, taken[-1].row)
    medians = [[one.row.p50_ms for one in taken] for taken in turns]
    ratios = [
        Ratio(
            path.name,
            baseline.name,
            rounds,
            *median_interval([new / old for new, old in zip(own, medians[0], strict=True)]),
        )
        for path, own in zip(files, medians[1:], strict=True)
    ]
    return Versus(tuple(merged(taken) for taken in turns), tuple(ratios))


def merged(turns: Sequence[Benched]) -> Benched:
    """One measurement of several of one file: all samples, the median load, the highest peaks."""
    rows = [one.row for one in turns]
    samples_ms = tuple(sample for row in rows for sample in row.samples_ms)

    def highest(name: str) -> int:
        return max(int(getattr(row, name)) for row in rows)

    # Each reason stays with its remedy, which may be that of another reason as well.
    problems = dict.fromkeys(
        pair for row in rows for pair in zip(row.reasons, row.remedies, strict=True)
    )
    row = dataclasses.replace(
        rows[0],
        samples_ms=samples_ms,
        **dataclasses.asdict(summarise(samples_ms)),
        load_ms=statistics.median(row.load_ms for row in rows),
        first_ms=statistics.median(row.first_ms for row in rows),
        memory_before_bytes=highest("memory_before_bytes"),
        memory_loaded_bytes=highest("memory_loaded_bytes"),
        peak_load_bytes=highest("peak_load_bytes"),
        peak_inference_bytes=highest("peak_inference_bytes"),
        warmup_runs=sum(row.warmup_runs for row in rows),
        settled=all(row.settled for row in rows),
        valid=all(row.valid for row in rows),
        watched=tuple(look for row in rows for look in row.watched),
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes)),
        reasons=tuple(reason for reason, _ in problems),
        remedies=tuple(remedy for _, remedy in problems),
        rounds=len(rows),
    )
    report: BenchReport = dataclasses.replace(turns[0].report, row=row)
    return Benched(report, turns[0].before, turns[-1].after)
