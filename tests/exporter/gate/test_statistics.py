from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.gate import statistics
from exporter.gate.statistics import ERROR_RATE, LEAST_ROUNDS, compare, self_test

NOISE = 0.03


def rounds(slower: float, count: int, seed: int, noise: float = NOISE):
    """(new, baseline) times with log-normal noise of each."""
    generator = np.random.default_rng(seed)
    baseline = np.exp(generator.normal(0, noise, count))
    return np.exp(generator.normal(0, noise, count)) * (1 + slower), baseline


def answers(slower: float, count: int, tolerance: float, simulations: int = 200):
    return [
        compare(*rounds(slower, count, seed), tolerance=tolerance).answer
        for seed in range(simulations)
    ]


def test_the_same_file_is_called_worse_no_more_often_than_stated():
    """200 comparisons of a file with itself at the strictest tolerance, none."""
    worse = answers(0.0, 30, tolerance=0.0).count("worse")
    # Mean 200 * ERROR_RATE = 2; more than 7 happens by chance once in a thousand.
    assert worse <= 7


def test_with_a_tolerance_the_same_file_is_never_called_worse():
    assert answers(0.0, 30, tolerance=0.05).count("worse") == 0


def test_a_slowdown_of_a_tenth_is_found_with_sixty_samples():
    """30 rounds are 60 samples; at 3 % noise, allowed 2 %."""
    assert answers(0.10, 30, tolerance=0.02).count("worse") >= 190


def test_a_file_that_is_as_fast_is_let_through():
    assert answers(0.0, 30, tolerance=0.05).count("better or equal") >= 190


def test_a_faster_file_passes_at_no_tolerance():
    assert answers(-0.10, 30, tolerance=0.0).count("better or equal") >= 190


def test_wild_rounds_do_not_make_a_file_worse():
    """A tenth of the new file's rounds take half as long again: something else ran meanwhile."""
    worse = 0
    for seed in range(100):
        new, baseline = rounds(0.0, 30, seed)
        new[np.random.default_rng(seed).permutation(30)[:3]] *= 1.5
        worse += compare(new, baseline, tolerance=0.02).answer == "worse"
    assert worse <= 5


def test_a_drift_of_both_sides_is_no_slowdown():
    """The machine gets a third slower over the rounds: pairs do not mind."""
    new, baseline = rounds(0.0, 30, 1)
    drift = np.linspace(1.0, 1.33, 30)
    drifting = compare(new * drift, baseline * drift, tolerance=0.02)
    steady = compare(new, baseline, tolerance=0.02)
    assert drifting.ratio.low == pytest.approx(steady.ratio.low)
    assert drifting.ratio.high == pytest.approx(steady.ratio.high)


def test_the_same_samples_give_the_same_answer():
    assert compare(*rounds(0.02, 20, 3)) == compare(*rounds(0.02, 20, 3))


def test_inconclusive_says_how_many_more_rounds_would_decide():
    found = compare(*rounds(0.08, 12, 5), tolerance=0.05)
    assert found.answer == "inconclusive"
    assert found.more_rounds is not None
    total = found.rounds + found.more_rounds
    # So many rounds of the same spread and estimate do decide.
    new, baseline = rounds(0.08, 12, 5)
    repeats = math.ceil(total * 1.3 / 12)
    again = compare(np.tile(new, repeats), np.tile(baseline, repeats), tolerance=0.05)
    assert again.answer != "inconclusive"


def test_a_change_at_the_limit_itself_is_not_to_be_decided():
    baseline = np.exp(np.random.default_rng(2).normal(0, 0.2, 20))
    spread = np.exp(np.tile([0.1, -0.1], 10))
    found = compare(baseline * spread * 1.05, baseline, tolerance=0.05)
    assert (found.answer, found.more_rounds) == ("inconclusive", None)


def test_files_without_any_noise_are_decided():
    assert compare([1.0] * 10, [1.0] * 10).answer == "better or equal"
    assert compare([1.1] * 10, [1.0] * 10, tolerance=0.05).answer == "worse"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.01, 100), min_size=LEAST_ROUNDS, max_size=40),
    st.floats(0.01, 100),
    st.floats(0, 0.5),
)
def test_the_interval_holds_the_estimate_and_scales_with_time(times, factor, tolerance):
    found = compare([time * factor for time in times], times, tolerance=tolerance)
    assert found.ratio.low <= found.ratio.estimate <= found.ratio.high
    assert found.ratio.estimate == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize(
    ("new", "baseline", "message"),
    [
        ([1.0] * 9, [1.0] * 9, "at least 10 rounds, found 9"),
        ([1.0] * 10, [1.0] * 11, "as many rounds of both files, found 10 and 11"),
        ([1.0] * 9 + [0.0], [1.0] * 10, "times above zero"),
        ([1.0] * 10, [1.0] * 9 + [math.nan], "times above zero"),
        ([1.0] * 9 + [math.inf], [1.0] * 10, "times above zero"),
    ],
)
def test_refuses_what_is_no_comparison(new, baseline, message):
    with pytest.raises(ValueError, match=message):
        compare(new, baseline)


def test_the_self_test_counts_what_noise_alone_does():
    samples = np.exp(np.random.default_rng(4).normal(0, NOISE, 60))
    assert self_test(samples, rounds=30, comparisons=200) <= 7
    assert self_test(samples, rounds=30, comparisons=200, tolerance=0.05) == 0


def test_the_self_test_would_notice_an_interval_that_is_too_narrow(monkeypatch):
    """At an error rate of a third, noise alone is called worse often."""
    monkeypatch.setattr(statistics, "ERROR_RATE", 1 / 3)
    samples = np.exp(np.random.default_rng(4).normal(0, NOISE, 60))
    assert self_test(samples, rounds=30, comparisons=100) > 15


def test_the_stated_rate_is_one_in_a_hundred():
    assert ERROR_RATE == 0.01
