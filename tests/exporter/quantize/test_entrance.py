"""exporter/quantize/entrance.py: scales with which a quotient and a product round alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.quantize.entrance import GROWTH, agreeing_scale, agrees, near_ties

DRAWN = settings(deadline=None, max_examples=60, derandomize=True)
steps = st.floats(1e-6, 100.0)


@given(step=steps, seed=st.integers(0, 2**31))
@DRAWN
def test_a_scale_is_hardly_larger_and_agrees_everywhere(step, seed):
    scale = agreeing_scale(step)
    assert step <= scale <= step * (1 + GROWTH)
    assert scale == float(np.float32(scale))
    random = np.random.default_rng(seed)
    x = (random.uniform(-256, 256, 20_000) * scale).astype(np.float32)
    x = np.concatenate([x, near_ties(scale)])
    divisor = np.float32(scale)
    product = np.rint(x * (np.float32(1.0) / divisor))
    np.testing.assert_array_equal(np.rint(x / divisor), product)


@given(step=steps)
@DRAWN
def test_the_numbers_that_decide_are_around_every_tie(step):
    x = near_ties(float(np.float32(step)))
    found = np.rint(x.astype(np.float64) / float(np.float32(step)))
    assert set(range(-256, 257)) <= set(found.astype(int).tolist())


@pytest.mark.parametrize("exponent", [-12, -3, 0, 2])
def test_powers_of_two_agree(exponent):
    assert agrees(2.0**exponent)
    assert agreeing_scale(2.0**exponent) == 2.0**exponent


def test_most_scales_do_not_agree():
    drawn = np.random.default_rng(0).uniform(0.001, 0.1, 100)
    assert sum(agrees(float(np.float32(step))) for step in drawn) < 20


def test_a_scale_that_is_no_float32_does_not_agree():
    assert not agrees(0.1)
