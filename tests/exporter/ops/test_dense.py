"""exporter/tflite/ops/dense.py: Gemm, also behind a flattened image."""

from __future__ import annotations

import numpy as np
import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value

LARGEST = 64
"""A weight: see test_conv.py."""
SOURCE_SCALE = 0.03


def constants(net, inputs, outputs, seed, *, per_channel=True, bias=True):
    """The weight [out, in] and the bias of a dense layer."""
    random = np.random.default_rng(seed)
    weight = random.integers(-LARGEST, LARGEST + 1, (outputs, inputs)).astype(np.int8)
    scale = np.float32(random.uniform(0.002, 0.01, outputs if per_channel else ()))
    given = [net.quantized_constant(weight, scale)]
    if bias:
        biases = random.integers(-3000, 3000, outputs).astype(np.int32)
        wide = np.float32(np.float64(np.float32(SOURCE_SCALE)) * np.float64(scale))
        if wide.ndim == 0:
            wide = np.float32(wide)
        given.append(net.quantized_constant(biases, wide))
    return given


def dense(inputs, outputs, seed, *, relu=False, flatten=False, **options):
    def body(net, x):
        if flatten:
            flat = net.node("Flatten", [x])
            x = net.requantize(flat, Value((1, inputs), SOURCE_SCALE, 7))
        y = net.node("Gemm", [x, *constants(net, inputs, outputs, seed, **options)], transB=1)
        return net.node("Relu", [y]) if relu else y

    return body


def result(outputs, relu=False):
    return Value((1, outputs), 0.06, -128 if relu else 9)


@given(
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 40),
    seed=single.seeds,
    per_channel=st.booleans(),
    bias=st.booleans(),
    relu=st.booleans(),
)
@single.DRAWN
def test_any_dense_layer(inputs, outputs, seed, per_channel, bias, relu):
    source = Value((1, inputs), SOURCE_SCALE, 7)
    body = dense(inputs, outputs, seed, relu=relu, per_channel=per_channel, bias=bias)
    case = Case.of(body, source, result(outputs, relu))
    single.assert_exact(case, source.sample(seed, 3))
    single.assert_real(case, source.sample(seed, 3))


@given(
    channels=st.integers(1, 6),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    outputs=st.integers(1, 9),
    seed=single.seeds,
)
@single.DRAWN
def test_a_flattened_image_folds_into_the_weight(channels, height, width, outputs, seed):
    source = Value((1, channels, height, width), SOURCE_SCALE, 7)
    body = dense(channels * height * width, outputs, seed, flatten=True)
    case = Case.of(body, source, result(outputs))
    single.assert_exact(case, source.sample(seed))
    single.assert_real(case, source.sample(seed))
    assert single.codes(case) == ["RESHAPE", "FULLY_CONNECTED"]


@pytest.mark.parametrize(
    ("changed", "columns"),
    [({"alpha": 0.5}, 0), ({"beta": 2.0}, 0), ({"transB": 0}, 1), ({"transA": 1}, 0)],
    ids=["alpha", "beta", "transB", "transA"],
)
def test_another_product_is_refused(changed, columns):
    source = Value((4, 4), 0.05)

    def body(net, x):
        given = constants(net, 4, 4, 0)
        return net.node("Gemm", [x, *given], **{"transB": 1, **changed})

    message = single.refusal(Case.of(body, source, None), quantized=False)
    assert "it is not x @ weight.T + bias" in message
    assert "use nn.Linear on [N, in]" in message


def test_a_computed_weight_is_refused():
    source, weight = Value((2, 4), 0.05), Value((3, 4), 0.05)
    case = Case.of(single.function("Gemm", transB=1), (source, weight), None)
    message = single.refusal(case, quantized=False)
    assert "its weight is computed" in message
    assert "use a constant weight" in message
