"""exporter/tflite/ops/activation.py: functions with an int8 kernel of their own."""

from __future__ import annotations

import numpy as np
import pytest
import single
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from single import Case, Value, function

SHAPE = (1, 256)
IMAGE = (1, 4, 8, 8)
SIGMOID, TANH = Value(SHAPE, 1 / 256, -128), Value(SHAPE, 1 / 128, 0)
CURVES = {
    "Elu": (function("Elu"), None, ()),
    "Gelu": (function("Gelu"), None, ("all",)),
    "Gelu by tanh": (function("Gelu", approximate="tanh"), None, ("all",)),
    "Sigmoid": (function("Sigmoid"), SIGMOID, ()),
    "Tanh": (function("Tanh"), TANH, ()),
}
TORCH = {
    "Elu": torch.nn.functional.elu,
    "Gelu": torch.nn.functional.gelu,
    "Gelu by tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}


def values(shape=SHAPE):
    return st.builds(Value, st.just(shape), st.floats(0.004, 0.06), st.integers(-128, 127))


def clip(low, high):
    """Clip with limits; None for one that is not given."""

    def body(net, x):
        limits = ["" if limit is None else net.constant(np.float32(limit)) for limit in (low, high)]
        return net.node("Clip", [x, *limits])

    return body


@pytest.mark.parametrize("name", CURVES)
@given(source=values())
@single.DRAWN
def test_every_integer_of_a_curve(name, source):
    body, result, left = CURVES[name]
    case = single.pointwise(body, source, result)
    outcome = single.assert_exact(case, source.every(), left=left)
    assert len(np.unique(outcome.tflite[0])) > 20


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_in_float(name):
    source = Value(IMAGE, 0.03, 3)
    outcome = single.assert_real(Case.of(CURVES[name][0], source, None), source.every())
    real = torch.from_numpy(source.real(source.every()).astype(np.float32))
    np.testing.assert_allclose(outcome.tflite[0], TORCH[name](real), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [SHAPE, IMAGE])
@pytest.mark.parametrize("kind", ["Relu", "Relu6"])
@given(data=st.data())
@single.DRAWN
def test_every_integer_of_a_relu_that_keeps_its_scale(kind, shape, data):
    source = data.draw(values(shape))
    body = function("Relu") if kind == "Relu" else clip(0.0, 6.0)
    # A limit between two integers is another limit for each runtime: RELU6 ends at round(6 / s).
    if kind == "Relu6":
        source = Value(shape, 6 / data.draw(st.integers(30, 255)), source.zero_point)
    single.assert_exact(Case.of(body, source, source), source.every(), left=("all",))


@given(data=st.data())
@single.DRAWN
def test_every_integer_of_a_clip_with_limits_on_the_grid(data):
    source = data.draw(values())
    low, high = sorted(data.draw(st.tuples(*[st.integers(-128, 127)] * 2)))
    limits = [float(source.real(np.array(limit))) for limit in (low, high)]
    low_given, high_given = data.draw(st.sampled_from([(1, 1), (1, 0), (0, 1)]))
    body = clip(limits[0] if low_given else None, limits[1] if high_given else None)
    single.assert_exact(Case.of(body, source, source), source.every(), left=("all",))


@given(source=values(), low=st.floats(-8, 0), high=st.floats(0, 8))
@single.DRAWN
def test_every_integer_of_a_clip_with_any_limits(source, low, high):
    # A limit between two integers is rounded as any number; on a tie each runtime has its own way.
    parts = np.array([low, high]) / source.scale
    assume(float(np.abs(parts - np.floor(parts) - 0.5).min()) > 1e-4)
    single.assert_exact(Case.of(clip(low, high), source, source), source.every(), left=("all",))


@pytest.mark.parametrize("limits", [(0.0, 6.0), (-1.5, 2.0), (None, 1.0), (-0.25, None)])
def test_a_clip_in_float(limits):
    source = Value(IMAGE, 0.05, 0)
    single.assert_real(Case.of(clip(*limits), source, None), source.every())


def test_a_clip_without_limits_is_nothing():
    source = Value(SHAPE, 0.05, 0)
    body = clip(-np.finfo(np.float32).max, np.inf)
    relu = lambda net, x: net.node("Relu", [net.requantize(body(net, x), source)])  # noqa: E731
    assert single.codes(Case.of(relu, source, source)) == ["RELU"]


@given(
    source=values((1, 12)),
    width=st.integers(2, 40),
    rows=st.integers(1, 6),
    seed=single.seeds,
)
@single.DRAWN
def test_softmax_over_the_last_axis(source, width, rows, seed):
    source = Value((1, rows, width), source.scale, source.zero_point)
    case = Case.of(function("Softmax", axis=-1), source, Value(source.shape, 1 / 256, -128))
    single.assert_exact(case, source.sample(seed), left=("all",))


@given(source=values(), channels=st.integers(2, 20), side=st.integers(1, 4), seed=single.seeds)
@single.DRAWN
def test_softmax_over_the_channels_of_an_image(source, channels, side, seed):
    source = Value((1, channels, side, side + 1), source.scale, source.zero_point)
    case = Case.of(function("Softmax", axis=1), source, Value(source.shape, 1 / 256, -128))
    single.assert_exact(case, source.sample(seed), left=("all",))
    single.assert_real(case, source.sample(seed))


def test_softmax_over_rows_is_refused():
    source = Value((1, 3, 4, 5), 0.05)
    case = Case.of(function("Softmax", axis=2), source, Value(source.shape, 1 / 256, -128))
    message = single.refusal(case)
    assert "Softmax 'Softmax_" in message
    assert "it goes over axis 1 in TFLite's order of 4" in message
    assert "take it over the channels of an image, or over the last axis" in message


def test_an_elu_of_another_alpha_is_refused():
    source = Value(SHAPE, 0.05)
    message = single.refusal(Case.of(function("Elu", alpha=0.5), source, source))
    assert "its alpha is not 1" in message
    assert "use nn.ELU()" in message


def test_computed_limits_are_refused():
    source = Value(SHAPE, 0.05)

    def body(net, x):
        lowest = net.node("ReduceMin", [x], keepdims=0)
        return net.node("Clip", [x, lowest])

    message = single.refusal(Case.of(body, source, None), quantized=False)
    assert "its limit is computed" in message
