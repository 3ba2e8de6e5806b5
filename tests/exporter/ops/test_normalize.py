"""exporter/tflite/ops/normalize.py: normalization over neighbouring channels."""

from __future__ import annotations

import numpy as np
import single
import torch
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function


@given(
    size=st.sampled_from([1, 3, 5, 7]),
    channels=st.integers(1, 9),
    side=st.integers(1, 5),
    alpha=st.floats(1e-4, 0.5),
    beta=st.floats(0.5, 1.0),
    bias=st.floats(1.0, 2.0),
    seed=single.seeds,
)
@single.DRAWN
def test_over_an_odd_number_of_channels(size, channels, side, alpha, beta, bias, seed):
    source = Value((1, channels, side, side + 1), 0.03, 3)
    sample = source.sample(seed)
    body = function("LRN", size=size, alpha=alpha, beta=beta, bias=bias)
    outcome = single.assert_real(Case.of(body, source, None), sample)
    real = torch.from_numpy(source.real(sample))
    expected = torch.nn.functional.local_response_norm(real, size, alpha, beta, bias)
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-5, atol=1e-5)
    # Its results are no multiples of anything, so that a few lie at a tie.
    single.assert_within_one(Case.of(body, source, Value(source.shape, 0.04, 4)), sample, left=None)


def test_an_even_number_of_channels_is_refused():
    source = Value((1, 6, 4, 4), 0.05)
    message = single.refusal(Case.of(function("LRN", size=4), source, None), quantized=False)
    assert "it goes over 4 channels" in message
    assert "use an odd number of an image's channels" in message


def test_a_signal_is_refused():
    source = Value((1, 6, 4), 0.05)
    message = single.refusal(Case.of(function("LRN", size=3), source, None), quantized=False)
    assert "it goes over 3 channels" in message


@given(
    rank=st.sampled_from([3, 4]),
    channels=st.integers(1, 6),
    side=st.integers(2, 6),
    seed=single.seeds,
)
@single.DRAWN
def test_over_each_channel_alone(rank, channels, side, seed):
    shape = (1, channels, side, side + 1)[:rank]
    source, random = Value(shape, 0.03, 3), np.random.default_rng(seed)
    scale, shift = (random.normal(size=channels).astype(np.float32) for _ in range(2))
    sample = source.sample(seed)
    body = function("InstanceNormalization", scale, shift, epsilon=1e-3)
    outcome = single.assert_real(Case.of(body, source, None), sample)
    expected = torch.nn.functional.instance_norm(
        torch.from_numpy(source.real(sample)),
        weight=torch.from_numpy(scale).double(),
        bias=torch.from_numpy(shift).double(),
        eps=1e-3,
    )
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-4, atol=1e-5)
    result = Value(shape, 0.04, 4)
    single.assert_within_one(Case.of(body, source, result), sample, left=None)
