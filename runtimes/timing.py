"""Times one call: the first run, a warm-up until it is steady, then a window of raw samples."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import numpy as np

from runtimes.errors import EdgewrightError

WARMUP_WINDOW_NS = 50_000_000  # a CPU governor steps the clock up within some 10 ms
WARMUP_WINDOW_RUNS = 3
WARMUP_TOLERANCE = 0.03  # medians of two windows in a row closer than this are steady
WARMUP_LIMIT_NS = 5_000_000_000
MAX_RUNS = 100_000  # 8 bytes each here, and some 10 in the report
SPREAD_LIMIT = 1.5

Clock = Callable[[], int]
Between = Callable[[int], None]


def _nothing(_now_ns: int) -> None:
    """What happens between two runs when nothing was asked for."""


@dataclass(frozen=True)
class Timing:
    """What was timed. `settled` is False when the warm-up ended by its limit.

    Samples stay in a compact array, so that they hardly show in the memory peak read afterwards.
    The window's own time has in it what lies between two samples: of a small model as much again.
    """

    first_ms: float
    warmup_runs: int
    settled: bool
    samples_ns: array[int]
    cpu_s: float
    window_s: float


@dataclass(frozen=True)
class Summary:
    """Percentiles by linear interpolation; the standard deviation is the sample's (n - 1)."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float


def measure(
    call: Callable[[], object],
    *,
    seconds: float,
    min_runs: int,
    clock: Clock = time.perf_counter_ns,
    between: Between = _nothing,
) -> Timing:
    """Time `call` until both `seconds` have passed and `min_runs` runs are done, once it is warm.

    The window ends early at MAX_RUNS runs (or `min_runs`, if that is more). The garbage collector
    rests meanwhile. `clock` counts nanoseconds. `between` is called with the clock after each run
    of the window; no sample has its time in it.

    Raises:
        EdgewrightError: the clock ran backwards.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        first_ns = _timed_ns(call, clock)
        warmup_runs, settled = _warm_up(call, clock)
        start_ns, cpu_start = clock(), time.process_time()
        samples_ns = _window(call, int(seconds * 1e9), min_runs, clock, between)
        cpu_s = time.process_time() - cpu_start
        window_ns = clock() - start_ns
    finally:
        if collecting:
            gc.enable()
    return Timing(first_ns / 1e6, warmup_runs, settled, samples_ns, cpu_s, window_ns / 1e9)


def _timed_ns(call: Callable[[], object], clock: Clock) -> int:
    start = clock()
    call()
    return clock() - start


def _warm_up(call: Callable[[], object], clock: Clock) -> tuple[int, bool]:
    """Run windows until two medians in a row agree; gives the runs and whether they did."""
    runs, previous_ns, deadline = 0, 0.0, clock() + WARMUP_LIMIT_NS
    while clock() < deadline:
        samples = _window(call, WARMUP_WINDOW_NS, WARMUP_WINDOW_RUNS, clock)
        runs += len(samples)
        median_ns = float(np.median(samples))
        if previous_ns and abs(median_ns - previous_ns) <= WARMUP_TOLERANCE * previous_ns:
            return runs, True
        previous_ns = median_ns
    return runs, False


def _window(
    call: Callable[[], object],
    duration_ns: int,
    min_runs: int,
    clock: Clock,
    between: Between = _nothing,
) -> array[int]:
    samples = array("q")
    end = clock() + duration_ns
    while True:
        start = clock()
        call()
        now = clock()
        if now < start:
            raise EdgewrightError(
                "the device's clock ran backwards while it was measured",
                found=f"{(now - start) / 1e6:.3f} ms for one run",
                remedy="measure again; if it happens again, the device cannot be measured",
            )
        samples.append(now - start)
        enough = len(samples) >= min_runs
        if enough and (now >= end or len(samples) >= MAX_RUNS):
            return samples
        between(now)


def summarise(samples_ms: Sequence[float]) -> Summary:
    """Median, tail and spread of raw samples, in ms."""
    values = np.asarray(samples_ms, dtype=np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    std = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return Summary(p50, p90, p99, float(values.mean()), std)


def notes_on(settled: bool, runs: int, summary: Summary) -> tuple[str, ...]:
    """What makes these times less than they seem: the cause, then what to try."""
    notes = []
    if not settled:
        notes.append(
            f"the warm-up did not settle in {WARMUP_LIMIT_NS // 10**9} s: other programs or a "
            "changing clock disturb it; close them, or fix the governor"
        )
    if summary.p90_ms > SPREAD_LIMIT * summary.p50_ms:
        notes.append(
            f"p90 is {summary.p90_ms / summary.p50_ms:.1f} times p50: something else runs here; "
            "close it, or measure longer"
        )
    if runs == MAX_RUNS:
        notes.append(f"the window ended at {MAX_RUNS} runs")
    return tuple(notes)
