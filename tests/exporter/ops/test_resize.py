"""exporter/tflite/ops/resize.py: resizing, and channels to pixels and back."""

from __future__ import annotations

import numpy as np
import pytest
import single
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from single import Case, Value, function

from exporter.graph.ties import LARGEST_DENOMINATOR_OF_WEIGHTS, resize_denominator
from exporter.quantize.exact import interpolated_step

NEAREST = [
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("half_pixel", "round_prefer_floor"),
    ("align_corners", "round_prefer_ceil"),
]
LINEAR = ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"]
factors = st.integers(1, 4)


def resized(height, width, mode, centres, **attributes):
    def body(net, x):
        sizes = net.constant(np.float32([1, 1, height, width]))
        return net.node(
            "Resize",
            [x, "", sizes],
            mode=mode,
            coordinate_transformation_mode=centres,
            **attributes,
        )

    return body


def images():
    side = st.integers(2, 7)
    shape = st.tuples(st.just(1), st.integers(1, 5), side, side)
    return st.builds(Value, shape, single.steps, single.zero_points)


@pytest.mark.parametrize(("centres", "rounding"), NEAREST)
@given(source=images(), up=st.tuples(factors, factors), seed=single.seeds)
@single.DRAWN
def test_nearest_by_whole_factors(centres, rounding, source, up, seed):
    body = resized(*up, "nearest", centres, nearest_mode=rounding)
    case = Case.of(body, source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


@pytest.mark.parametrize("centres", LINEAR)
@given(source=images(), up=st.tuples(factors, factors), seed=single.seeds)
@single.DRAWN
def test_bilinear_at_the_step_of_its_weights(centres, source, up, seed):
    have = source.shape[2:]
    want = [side * factor for side, factor in zip(have, up, strict=True)]
    parts = resize_denominator(have, want, aligned=centres == "align_corners")
    assume(parts <= LARGEST_DENOMINATOR_OF_WEIGHTS)
    result = Value(source.shape, interpolated_step(source.scale, parts), source.zero_point)
    case = Case.of(resized(*up, "linear", centres), source, result)
    sample = source.sample(seed)
    single.assert_exact(case, sample)
    single.assert_real(case, sample)


@given(source=images(), up=factors, seed=single.seeds)
@single.DRAWN
def test_bilinear_is_pytorchs(source, up, seed):
    case = Case.of(resized(up, up, "linear", "half_pixel"), source, None)
    outcome = single.assert_real(case, source.sample(seed))
    real = torch.from_numpy(source.real(source.sample(seed)))
    expected = torch.nn.functional.interpolate(real, scale_factor=up, mode="bilinear")
    largest = float(real.abs().max())
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@given(
    block=st.integers(2, 3),
    channels=st.integers(1, 4),
    side=single.sides,
    seed=single.seeds,
)
@single.DRAWN
def test_channels_to_pixels(mode, block, channels, side, seed):
    source = Value((1, channels * block**2, side, side + 1), 0.05, 3)
    case = Case.of(function("DepthToSpace", blocksize=block, mode=mode), source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    outcome = single.assert_real(case, sample)
    if mode == "CRD":
        real = torch.from_numpy(source.real(sample).astype(np.float32))
        expected = torch.nn.functional.pixel_shuffle(real, block)
        np.testing.assert_array_equal(outcome.tflite[0], expected)


@given(block=st.integers(2, 3), channels=st.integers(1, 4), side=single.sides, seed=single.seeds)
@single.DRAWN
def test_pixels_to_channels(block, channels, side, seed):
    source = Value((1, channels, side * block, (side + 1) * block), 0.05, 3)
    case = Case.of(function("SpaceToDepth", blocksize=block), source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


@given(
    block=st.integers(2, 3),
    channels=st.integers(1, 3),
    inputs=st.integers(1, 4),
    side=single.sides,
    seed=single.seeds,
    per_channel=st.booleans(),
)
@single.DRAWN
def test_a_shuffle_folds_into_the_convolution_before_it(
    block, channels, inputs, side, seed, per_channel
):
    source, count = Value((1, inputs, side, side), 0.03, -5), channels * block**2
    random = np.random.default_rng(seed)
    weight = random.integers(-64, 65, (count, inputs, 1, 1)).astype(np.int8)
    scale = np.float32(random.uniform(0.002, 0.01, count if per_channel else ()))
    biases = random.integers(-3000, 3000, count).astype(np.int32)
    bias_scale = np.float32(np.float64(np.float32(source.scale)) * np.float64(scale))
    between = Value((1, count, side, side), 0.04, 3)

    def body(net, x):
        given = [net.quantized_constant(weight, scale), net.quantized_constant(biases, bias_scale)]
        y = net.requantize(net.node("Conv", [x, *given]), between)
        return net.node("DepthToSpace", [y], blocksize=block, mode="CRD")

    case = Case.of(body, source, between)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)
    assert single.codes(case) == ["CONV_2D", "DEPTH_TO_SPACE"]


@pytest.mark.parametrize(
    ("mode", "centres", "attributes"),
    [
        ("nearest", "asymmetric", {"nearest_mode": "ceil"}),
        ("nearest", "align_corners", {"nearest_mode": "floor"}),
        ("cubic", "half_pixel", {}),
        ("linear", "half_pixel_symmetric", {}),
        ("linear", "half_pixel", {"antialias": 1}),
    ],
)
def test_another_resize_is_refused(mode, centres, attributes):
    source = Value((1, 3, 4, 4), 0.05)
    case = Case.of(resized(2, 2, mode, centres, **attributes), source, None)
    message = single.refusal(case, quantized=False)
    assert f"TFLite has no resize that is {mode}, {centres}" in message
    assert "use nearest, or bilinear without antialias" in message


def test_resized_channels_are_refused():
    source = Value((1, 3, 4, 4), 0.05)

    def body(net, x):
        return net.node("Resize", [x, "", net.constant(np.float32([1, 2, 1, 1]))])

    message = single.refusal(Case.of(body, source, None), quantized=False)
    assert "it resizes channels" in message
    assert "resize height and width" in message
