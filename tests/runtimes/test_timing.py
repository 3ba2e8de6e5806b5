from __future__ import annotations

import gc
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes import timing
from runtimes.errors import EdgewrightError
from runtimes.timing import measure, notes_on, summarise


class FakeWork:
    """A call that takes the next of the given times on a clock of its own; the last repeats."""

    def __init__(self, *durations_ms):
        self.now_ns = 0
        self.calls = 0
        self.collecting = []
        self._durations_ms = itertools.chain(durations_ms, itertools.repeat(durations_ms[-1]))

    def __call__(self):
        self.calls += 1
        self.collecting.append(gc.isenabled())
        self.now_ns += round(next(self._durations_ms) * 1e6)

    def clock(self):
        return self.now_ns


def test_first_run_and_samples_are_what_the_clock_said():
    work = FakeWork(80, 10)
    found = measure(work, seconds=0.2, min_runs=5, clock=work.clock)
    assert found.first_ms == 80
    assert list(found.samples_ns) == [10_000_000] * 20
    assert found.settled


def test_min_runs_hold_when_the_time_is_over():
    work = FakeWork(10)
    assert len(measure(work, seconds=0, min_runs=7, clock=work.clock).samples_ns) == 7


def test_the_time_holds_when_min_runs_are_done():
    work = FakeWork(10)
    assert len(measure(work, seconds=1, min_runs=7, clock=work.clock).samples_ns) == 100


def test_no_run_is_lost_between_the_phases():
    work = FakeWork(10)
    found = measure(work, seconds=0.1, min_runs=1, clock=work.clock)
    assert work.calls == 1 + found.warmup_runs + len(found.samples_ns)


def test_warm_up_waits_for_the_clock_to_rise():
    work = FakeWork(30, *[30] * 3, *[20] * 3, *[10] * 5, 10)
    found = measure(work, seconds=0, min_runs=3, clock=work.clock)
    assert found.warmup_runs >= 3 + 3 + 5 + 5
    assert list(found.samples_ns) == [10_000_000] * 3


def test_warm_up_is_bounded_when_nothing_settles():
    # Each window of 50 ms is of one speed, 10 % slower than the one before.
    times = [step for power in range(60) for step in [20 * 1.1**power] * 3]
    work = FakeWork(1, *times)
    found = measure(work, seconds=0, min_runs=1, clock=work.clock)
    assert not found.settled
    assert "did not settle" in notes_on(found.settled, 1, summarise([1.0]))[0]


def test_the_window_ends_at_the_largest_count(monkeypatch):
    monkeypatch.setattr(timing, "MAX_RUNS", 40)
    work = FakeWork(1)
    found = measure(work, seconds=10, min_runs=5, clock=work.clock)
    assert len(found.samples_ns) == 40
    assert notes_on(True, 40, summarise([1.0])) == ("the window ended at 40 runs",)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_and_comes_back(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        work = FakeWork(10)
        measure(work, seconds=0, min_runs=2, clock=work.clock)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert not any(work.collecting)


def test_the_garbage_collector_comes_back_after_an_error():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        measure(fail, seconds=0, min_runs=1)
    assert gc.isenabled()


def test_summary_of_one_to_hundred_and_one():
    found = summarise([float(value) for value in range(1, 102)])
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.mean_ms) == (51, 91, 100, 51)
    assert found.std_ms == pytest.approx(29.3002, abs=1e-4)


def test_summary_of_one_sample_has_no_spread():
    found = summarise([2.5])
    assert (found.p50_ms, found.p99_ms, found.std_ms) == (2.5, 2.5, 0.0)


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=50))
def test_percentiles_are_ordered_and_within_the_samples(samples):
    found = summarise(samples)
    assert min(samples) <= found.p50_ms <= found.p90_ms <= found.p99_ms <= max(samples)


def test_a_long_tail_is_noted():
    found = notes_on(True, 10, summarise([1.0] * 8 + [4.0] * 2))
    assert found == ("p90 is 4.0 times p50: something else runs here; close it, or measure longer",)


def test_real_time_is_measured_to_the_microsecond():
    found = measure(lambda: sum(range(2000)), seconds=0.02, min_runs=10)
    assert len(found.samples_ns) >= 10
    assert 1_000 < min(found.samples_ns) < 5_000_000
    assert found.cpu_s > 0
    assert found.window_s > sum(found.samples_ns) / 1e9


def test_what_comes_between_runs_is_in_no_sample():
    work = FakeWork(10)
    seen = []

    def between(now_ns):
        seen.append(now_ns)
        work.now_ns += 500_000_000

    found = measure(work, seconds=0, min_runs=4, clock=work.clock, between=between)
    assert list(found.samples_ns) == [10_000_000] * 4
    assert len(seen) == 3  # not after the last


def test_a_clock_that_runs_backwards_is_refused():
    work = FakeWork(10, *[10] * 20, -3)
    with pytest.raises(EdgewrightError, match="clock ran backwards") as caught:
        measure(work, seconds=10, min_runs=1, clock=work.clock)
    assert "-3.000 ms" in caught.value.found
