from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.quantize.scheme import (
    ActivationScale,
    keeps_pair_rule,
    largest_pair,
    limit_pairs,
    to_grid,
    weight_scale,
)


@given(st.integers(0, 10_000), st.sampled_from([(4, 3, 3, 3), (5, 7, 1, 1), (3, 10), (2, 1, 5, 5)]))
@settings(max_examples=60, deadline=None)
def test_the_grid_keeps_the_pair_rule(seed, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    scale = weight_scale(weight, pair_rule=True)
    integers = to_grid(weight, scale, pair_rule=True)
    assert float(largest_pair(integers).max()) <= 128
    assert float(integers.abs().max()) <= 127
    error = (integers * scale.reshape(-1, *(1,) * (weight.dim() - 1)) - weight).abs()
    assert bool((error <= 1.51 * scale.reshape(-1, *(1,) * (weight.dim() - 1))).all())


@given(
    st.integers(0, 10_000),
    st.sampled_from([(4, 3, 3, 3), (4, 6, 3, 3), (5, 7, 1, 1), (3, 11), (2, 1, 5, 5), (3, 1)]),
    st.integers(60, 90),
)
@settings(max_examples=100, deadline=None)
def test_sums_tell_whether_the_pair_rule_is_kept(seed, shape, largest):
    generator = torch.Generator().manual_seed(seed)
    integers = torch.randint(-largest, largest + 1, shape, generator=generator).float()
    kept = float(largest_pair(integers).max()) <= 128
    assert keeps_pair_rule(integers) == kept
    assert torch.equal(limit_pairs(integers), integers) == kept


def test_pairs_of_full_range_are_brought_back():
    integers = torch.tensor([[127.0, 127.0, -127.0, 127.0, 100.0, 50.0]])
    limited = limit_pairs(integers)
    assert limited.tolist() == [[64.0, 64.0, -127.0, 127.0, 89.0, 39.0]]


def test_a_channel_of_zeros_has_the_layers_scale():
    weight = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    scale = weight_scale(weight, pair_rule=False)
    assert scale[0] == scale[1] > 0


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (-5.0, 0.0), (2.0, 3.0)])
def test_a_range_covers_zero_and_its_ends(low, high):
    found = ActivationScale.from_range(low, high)
    assert (-128 - found.zero_point) * found.scale <= min(low, 0) + found.scale
    assert (127 - found.zero_point) * found.scale >= high - found.scale


@pytest.mark.parametrize(("scale", "point"), [(0.0, 0), (float("nan"), 0), (1.0, 128), (-1.0, 0)])
def test_impossible_scales_are_refused(scale, point):
    with pytest.raises(ValueError, match="must be"):
        ActivationScale.of(scale, point)
