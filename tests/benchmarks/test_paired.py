"""Interleaved measuring: the order, the ratio and its interval."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.paired import Rounds, interleaved, timed


def test_contenders_take_turns_and_warm_up():
    calls: list[str] = []

    def contender(name: str, start: int):
        values = itertools.count(start)

        def measure() -> float:
            calls.append(name)
            return float(next(values))

        return measure

    rounds = interleaved({"a": contender("a", 0), "b": contender("b", 10)}, rounds=2, warmup=1)

    assert calls == ["a", "b"] * 3
    assert rounds.values == {"a": (1.0, 2.0), "b": (11.0, 12.0)}


def test_medians_and_their_ratio():
    rounds = Rounds({"a": (2.0, 4.0, 100.0), "b": (1.0, 2.0, 2.0)})

    assert rounds.median("a") == 4.0
    assert rounds.ratio("a", "b").value == 2.0


def test_a_disturbance_that_hits_both_does_not_widen_the_interval():
    generator = np.random.default_rng(1)
    disturbance = 1.0 + generator.exponential(1.0, size=40)
    paired = Rounds({"a": tuple(3.0 * disturbance), "b": tuple(disturbance)})
    alone = Rounds({"a": tuple(3.0 * disturbance), "b": tuple(generator.permutation(disturbance))})

    tight, wide = paired.ratio("a", "b"), alone.ratio("a", "b")

    assert tight.value == pytest.approx(3.0)
    assert (tight.low, tight.high) == pytest.approx((3.0, 3.0))
    assert wide.high - wide.low > 0.5


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        a, b = generator.lognormal(np.log(2.0), 0.1, 30), generator.lognormal(0.0, 0.1, 30)
        ratio = Rounds({"a": tuple(a), "b": tuple(b)}).ratio("a", "b")
        covered += ratio.low <= 2.0 <= ratio.high

    assert 88 <= covered <= 100


def test_the_same_values_give_the_same_interval():
    rounds = Rounds({"a": (1.0, 2.0, 3.0), "b": (2.0, 2.0, 1.0)})

    assert rounds.ratio("a", "b") == rounds.ratio("a", "b")


@pytest.mark.parametrize(("names", "rounds"), [((), 1), (("a",), 0)])
def test_nothing_to_measure_is_refused(names, rounds):
    with pytest.raises(ValueError, match="expected contenders and rounds"):
        interleaved({name: float for name in names}, rounds)


def test_a_call_is_timed_by_the_clock_that_is_asked_for():
    ticks = iter([1.0, 3.5])

    assert timed(lambda: None, lambda: next(ticks))() == 2.5
