from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.quantize.histograms import BINS, Histogram, width_for

finite = st.floats(-(2.0**100), 2.0**100, width=32)
tensors = st.lists(st.lists(finite, min_size=1, max_size=40), min_size=1, max_size=6)


def histogram(batches: list[torch.Tensor]) -> Histogram:
    found = Histogram()
    for batch in batches:
        found.add(batch)
    return found


@given(tensors)
@settings(max_examples=150, deadline=None)
def test_batches_make_the_histogram_of_all_values_at_once(lists):
    batches = [torch.tensor(values, dtype=torch.float32) for values in lists]
    streamed, whole = histogram(batches), histogram([torch.cat(batches)])
    assert (streamed.low, streamed.high) == (whole.low, whole.high)
    assert streamed.width == whole.width
    assert np.array_equal(streamed.counts, whole.counts)
    assert streamed.counts.sum() == sum(len(batch) for batch in batches)


@given(tensors, st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_batches_does_not_count(lists, random):
    batches = [torch.tensor(values, dtype=torch.float32) for values in lists]
    first = histogram(batches)
    random.shuffle(batches)
    assert np.array_equal(first.counts, histogram(batches).counts)


@given(tensors)
@settings(max_examples=60, deadline=None)
def test_merged_histograms_are_that_of_all(lists):
    batches = [torch.tensor(values, dtype=torch.float32) for values in lists]
    merged = Histogram()
    for batch in batches:
        merged.merge(histogram([batch]))
    whole = histogram(batches)
    assert merged.width == whole.width
    assert np.array_equal(merged.counts, whole.counts)
    assert (merged.low, merged.high) == (whole.low, whole.high)


def test_bins_hold_the_values_that_they_stand_for():
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) * 3.7
    found = histogram(list(values.split(999)))
    centres, counts = found.bins()
    expected, _ = np.histogram(
        values.double().numpy(), np.append(centres - found.width / 2, centres[-1] + found.width / 2)
    )
    assert counts.sum() == len(values)
    assert np.array_equal(expected, counts)


def test_the_memory_does_not_grow_with_the_batches():
    found = Histogram()
    for step in range(200):
        found.add(torch.full((1000,), 1.1**step))
    assert found.counts.nbytes == 8 * BINS
    assert found.counts.sum() == 200_000


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(torch.tensor([1.0, value]))


@pytest.mark.parametrize("largest", [1e-38, 0.9999, 1.0, 1.0001, 255.0, 256.0, 3e38])
def test_the_largest_value_has_a_bin_in_the_outer_half(largest):
    width = width_for(largest)
    assert BINS // 4 <= math.floor(largest / width) < BINS // 2
