"""exporter/tflite/ops/pointwise.py: functions that both runtimes compute in float."""

from __future__ import annotations

import numpy as np
import pytest
import single
import torch
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function

SHAPE = (1, 256)
IMAGE = (1, 4, 8, 8)
FUNCTIONS = {
    "Abs": (function("Abs"), torch.abs),
    "Exp": (function("Exp"), torch.exp),
    "HardSigmoid": (
        function("HardSigmoid", alpha=1 / 6, beta=0.5),
        torch.nn.functional.hardsigmoid,
    ),
    "HardSwish": (function("HardSwish"), torch.nn.functional.hardswish),
    "Neg": (function("Neg"), torch.neg),
    "Pow 0.5": (function("Pow", np.float32(0.5)), torch.sqrt),
    "Pow 2": (function("Pow", np.float32(2)), torch.square),
    "Pow -0.5": (function("Pow", np.float32(-0.5)), torch.rsqrt),
    "Reciprocal": (function("Reciprocal"), torch.reciprocal),
    "Sqrt": (function("Sqrt"), torch.sqrt),
}
OF_POSITIVE = {"Pow 0.5", "Pow -0.5", "Reciprocal", "Sqrt"}
INFINITE_AT_ZERO = {"Pow -0.5", "Reciprocal"}


def values(shape=SHAPE, highest=127):
    return st.builds(Value, st.just(shape), st.floats(0.004, 0.06), st.integers(-128, highest))


@pytest.mark.parametrize("name", FUNCTIONS)
@given(data=st.data())
@single.DRAWN
def test_every_integer(name, data):
    source = data.draw(values(highest=-128 if name in OF_POSITIVE else 127))
    case = single.pointwise(FUNCTIONS[name][0], source)
    outcome = single.assert_exact(case, source.every())
    assert len(np.unique(outcome.tflite[0])) > 20


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_image_in_float(name):
    body, counterpart = FUNCTIONS[name]
    source = Value(IMAGE, 0.03, -128 if name in OF_POSITIVE else 3)
    every = np.maximum(source.every(), -127 if name in INFINITE_AT_ZERO else -128)
    outcome = single.assert_real(Case.of(body, source, None), every)
    expected = counterpart(torch.from_numpy(source.real(every).astype(np.float32)))
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-5, atol=1e-5)


@given(source=values(), alpha=st.floats(0.001, 1.5) | st.floats(-0.5, -0.001))
@single.DRAWN
def test_every_integer_of_a_leaky_relu(source, alpha):
    case = single.pointwise(function("LeakyRelu", alpha=alpha), source)
    single.assert_exact(case, source.every())
    single.assert_real(case, source.every())


@given(source=values(), alpha=st.floats(0.05, 1.0), beta=st.floats(0.0, 1.0))
@single.DRAWN
def test_every_integer_of_a_hard_sigmoid(source, alpha, beta):
    case = single.pointwise(function("HardSigmoid", alpha=alpha, beta=beta), source)
    single.assert_exact(case, source.every())


@given(data=st.data(), channels=st.integers(1, 5))
@single.DRAWN
def test_every_integer_of_a_prelu_in_every_channel(data, channels):
    source = data.draw(values((1, channels, 16, 16)))
    slopes = np.array(data.draw(st.lists(
        st.floats(-1, 1, width=32), min_size=channels, max_size=channels
    )), np.float32).reshape(channels, 1, 1)  # fmt: skip
    every = np.broadcast_to(single.EVERY_INPUT.reshape(16, 16), source.shape)
    body = function("PRelu", slopes)
    real = source.real(every)
    found = np.where(real < 0, slopes * real, real)
    result = single.away_from_ties(found, single.fitting(found, source.shape))
    case = Case.of(body, source, result)
    single.assert_exact(case, every)
    single.assert_real(case, every)


@given(
    source=values(),
    rows=st.integers(1, 5),
    width=st.integers(2, 40),
    seed=single.seeds,
    shifted=st.booleans(),
)
@single.DRAWN
def test_layer_norm_is_within_one_step(source, rows, width, seed, shifted):
    # Its results are no multiples of anything, so that one in some thousand lies at a tie.
    source = Value((1, rows, width), source.scale, source.zero_point)
    random = np.random.default_rng(seed)
    factors = [random.uniform(0.5, 2, width), random.uniform(-1, 1, width)][: 1 + shifted]
    body = function("LayerNormalization", *factors, axis=-1)
    case = Case.of(body, source, Value(source.shape, 0.04, 4))
    single.assert_within_one(case, source.sample(seed))
    single.assert_real(case, source.sample(seed), relative=2e-5)


@pytest.mark.parametrize("width", [2, 7, 40])
def test_layer_norm_is_exact_where_values_hardly_differ(width):
    """A mean's last bit is large against what such rows differ by."""
    source = Value((1, 3, width), 0.7, -128)
    rows = np.full((16, 3, width), 100, np.int8)
    rows[:, :, 0] += np.arange(16, dtype=np.int8).reshape(-1, 1) % 3
    random = np.random.default_rng(width)
    scale, shift = random.uniform(0.5, 2, (2, width)).astype(np.float32)
    case = Case.of(
        function("LayerNormalization", scale, shift, axis=-1), source, Value(source.shape, 0.04, 4)
    )
    (found,) = single.assert_real(case, rows, relative=5e-5).tflite  # ONNX Runtime's own error
    real = source.real(rows).astype(np.float64)
    centred = real - real.mean(-1, keepdims=True)
    exact = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5) * scale + shift
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)


def test_layer_norm_over_channels_of_an_image_is_refused():
    source = Value((1, 3, 4, 5), 0.05)
    case = Case.of(function("LayerNormalization", np.ones(5), axis=-1), source, source)
    message = single.refusal(case)
    assert "LayerNormalization 'LayerNormalization_" in message
    assert "it does not go over the last axis" in message
    assert "use [..., C] values" in message


def test_layer_norm_over_two_axes_is_refused():
    source = Value((1, 3, 4), 0.05)
    case = Case.of(function("LayerNormalization", np.ones((3, 4)), axis=1), source, source)
    assert "it does not go over the last axis" in single.refusal(case)


def test_another_power_is_refused():
    source = Value(SHAPE, 0.05)
    message = single.refusal(Case.of(function("Pow", np.float32(3)), source, source))
    assert "its exponent is 3.0" in message
    assert "use 2, 0.5 or -0.5" in message


@pytest.mark.parametrize(("kind", "what"), [("Pow", "exponent"), ("PRelu", "slope")])
def test_a_computed_parameter_is_refused(kind, what):
    source = Value(SHAPE, 0.05)
    case = Case.of(function(kind), (source, source), source)
    message = single.refusal(case)
    assert f"its {what} is computed" in message
    assert f"give it a constant {what}" in message


@pytest.mark.parametrize(("kind", "constants"), [("scale", 0), ("shift", 1)])
def test_a_computed_scale_of_layer_norm_is_refused(kind, constants):
    source, other = Value((2, 6), 0.05), Value((6,), 0.05)

    def body(net, x, computed):
        given = [net.constant(np.ones(6))] * constants
        return net.node("LayerNormalization", [x, *given, computed], axis=-1)

    message = single.refusal(Case.of(body, (source, other), source))
    assert f"its {kind} is computed" in message
