"""exporter/tflite/ops/pool.py: maximum and mean over windows."""

from __future__ import annotations

import numpy as np
import pytest
import single
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from single import Case, Value, function

from exporter.tflite.layout import same_padding

small = st.integers(1, 3)


@st.composite
def windows(draw):
    """Kernel, strides and pads that PyTorch takes: at most half of the kernel."""
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    strides = [draw(small) for _ in range(2)]
    half = [draw(st.integers(0, k // 2)) for k in kernel]
    return {"kernel_shape": kernel, "strides": strides, "pads": [*half, *half]}


def starts_outside(source, window):
    """Whether rounding up adds a window without a value: PyTorch leaves it out, ONNX does not."""
    for axis, size in enumerate(source.shape[2:]):
        kernel, stride = window["kernel_shape"][axis], window["strides"][axis]
        pad = window["pads"][axis]
        last = -(-(size + 2 * pad - kernel) // stride) * stride
        if last - pad >= size:
            return True
    return False


def images(low=4, high=11):
    side = st.integers(low, high)
    shape = st.tuples(st.just(1), st.integers(1, 9), side, side)
    return st.builds(Value, shape, single.steps, single.zero_points)


@given(source=images(), window=windows(), ceil=st.booleans(), seed=single.seeds)
@single.DRAWN
def test_any_largest_value(source, window, ceil, seed):
    assume(not ceil or not starts_outside(source, window))
    case = Case.of(function("MaxPool", ceil_mode=int(ceil), **window), source, source)
    single.assert_exact(case, source.sample(seed), left=None)
    outcome = single.assert_real(case, source.sample(seed))
    real = torch.from_numpy(source.real(source.sample(seed)).astype(np.float32))
    expected = torch.nn.functional.max_pool2d(
        real, window["kernel_shape"], window["strides"], window["pads"][:2], ceil_mode=ceil
    )
    np.testing.assert_array_equal(outcome.tflite[0], expected)


def mean_of(source):
    """A result's scale for means: see exporter/quantize/exact.py."""
    return Value(source.shape, source.scale * 257 / 256, source.zero_point)


@given(
    source=images(),
    kernel=st.tuples(small, small),
    strides=st.tuples(small, small),
    seed=single.seeds,
)
@single.DRAWN
def test_a_mean_without_padding(source, kernel, strides, seed):
    # A window that skips values: XNNPACK leaves it to TFLite's kernel.
    assume(kernel != (1, 1) and kernel >= strides and kernel[1] >= strides[1])
    body = function("AveragePool", kernel_shape=kernel, strides=strides)
    case = Case.of(body, source, mean_of(source))
    single.assert_exact(case, source.sample(seed))
    single.assert_real(case, source.sample(seed))


@given(source=images(), stride=st.integers(1, 2), seed=single.seeds)
@single.DRAWN
def test_a_mean_whose_padding_is_what_same_pads(source, stride, seed):
    kernel, half = 3, 1
    wanted = [same_padding(size, kernel, stride) for size in source.shape[2:]]
    assume(wanted == [(half, half)] * 2)
    body = function("AveragePool", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[half] * 4)
    case = Case.of(body, source, mean_of(source))
    assert single.codes(case) == ["DEQUANTIZE", "AVERAGE_POOL_2D", "QUANTIZE"]
    single.assert_exact(case, source.sample(seed))
    single.assert_real(case, source.sample(seed))


@given(
    source=images(),
    window=windows(),
    ceil=st.booleans(),
    counted=st.booleans(),
    seed=single.seeds,
)
@single.DRAWN
def test_any_mean(source, window, ceil, counted, seed):
    # ONNX Runtime counts padding of a window that reaches beyond it otherwise than PyTorch does.
    assume(not (ceil and counted))
    assume(not ceil or not starts_outside(source, window))
    body = function("AveragePool", ceil_mode=int(ceil), count_include_pad=int(counted), **window)
    case = Case.of(body, source, mean_of(source))
    single.assert_exact(case, source.sample(seed), left=None)
    outcome = single.assert_real(case, source.sample(seed))
    expected = torch.nn.functional.avg_pool2d(
        torch.from_numpy(source.real(source.sample(seed))),
        window["kernel_shape"],
        window["strides"],
        window["pads"][:2],
        ceil_mode=ceil,
        count_include_pad=counted,
    )
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-4, atol=1e-4)


def test_a_mean_with_uneven_padding_counts_what_is_inside():
    source = Value((1, 3, 7, 7), 0.05)
    body = function("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 0])
    case = Case.of(body, source, mean_of(Value((1, 3, 7, 5), 0.05)))
    single.assert_exact(case, source.sample(4), left=None)
    codes = ["DEQUANTIZE", "PAD", "AVERAGE_POOL_2D", "MUL", "QUANTIZE"]
    assert single.codes(case) == codes


@given(source=images(1, 9), odd=st.integers(600, 1400), seed=single.seeds)
@single.DRAWN
def test_the_mean_of_an_image_in_float(source, odd, seed):
    case = Case.of(function("GlobalAveragePool"), source, None)
    outcome = single.assert_real(case, source.sample(seed))
    real = source.real(source.sample(seed))
    np.testing.assert_allclose(
        outcome.tflite[0], real.mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-5
    )


@given(source=images(1, 9), part=st.integers(0, 200), seed=single.seeds)
@single.DRAWN
def test_the_mean_of_an_image(source, part, seed):
    count = source.shape[2] * source.shape[3]
    odd = 2 * (4 * count + part % (2 * count)) + 1
    result = Value((*source.shape[:2], 1, 1), source.scale * odd / (8 * count), 5)
    case = Case.of(function("GlobalAveragePool"), source, result)
    single.assert_exact(case, source.sample(seed))


@pytest.mark.parametrize(
    "attributes",
    [{"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}],
    ids=["dilated", "auto_pad"],
)
def test_an_unusual_largest_value_is_refused(attributes):
    source = Value((1, 3, 8, 8), 0.05)
    case = Case.of(function("MaxPool", kernel_shape=[2, 2], **attributes), source, source)
    message = single.refusal(case)
    assert "it is dilated, rounds up or is not 2-D" in message
    assert "use nn.MaxPool2d's defaults" in message


def test_a_largest_value_of_a_signal_is_refused():
    source = Value((1, 3, 8), 0.05)
    message = single.refusal(Case.of(function("MaxPool", kernel_shape=[2]), source, source))
    assert "it is dilated, rounds up or is not 2-D" in message


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((1, 3, 8, 8), {"kernel_shape": [2, 2], "dilations": [2, 2]}),
        ((1, 3, 8, 8), {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((1, 3, 8), {"kernel_shape": [2]}),
    ],
    ids=["dilated", "auto_pad", "signal"],
)
def test_an_unusual_mean_is_refused(shape, attributes):
    source = Value(shape, 0.05)
    message = single.refusal(Case.of(function("AveragePool", **attributes), source, source))
    assert "it is dilated, names its padding or is not 2-D" in message
    assert "use nn.AvgPool2d" in message
