"""exporter/tflite/ops/transposed.py: a transposed convolution in float."""

from __future__ import annotations

import numpy as np
import pytest
import single
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from single import Case, Value

from exporter.errors import UnsupportedError
from exporter.tflite import lower

sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))


def transposed(weight, bias=None, **attributes):
    def body(net, x):
        given = [x, net.constant(weight)]
        if bias is not None:
            given.append(net.constant(bias))
        return net.node("ConvTranspose", given, **attributes)

    return body


@given(
    channels=sizes,
    kernel=sizes,
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    crop=st.integers(0, 1),
    more=st.integers(0, 1),
    with_bias=st.booleans(),
    seed=single.seeds,
)
@single.DRAWN
def test_any_transposed_convolution(channels, kernel, strides, crop, more, with_bias, seed):
    inputs, outputs = channels
    assume(crop < min(kernel) and more < min(strides) and more <= crop)
    random = np.random.default_rng(seed)
    weight = random.normal(0, 0.5, (inputs, outputs, *kernel)).astype(np.float32)
    bias = random.normal(0, 1, outputs).astype(np.float32) if with_bias else None
    source = Value((1, inputs, 4, 5), 0.03, 3)
    body = transposed(weight, bias, strides=strides, pads=[crop] * 4, output_padding=[more, more])
    outcome = single.assert_real(Case.of(body, source, None), source.sample(seed))
    real = torch.from_numpy(source.real(source.sample(seed)).astype(np.float32))
    offset = None if bias is None else torch.from_numpy(bias)
    expected = torch.nn.functional.conv_transpose2d(
        real, torch.from_numpy(weight), offset, strides, crop, more
    ).numpy()
    largest = np.abs(expected).max()
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize(
    ("weight", "attributes"),
    [
        (np.ones((2, 3, 2, 2)), {"dilations": [2, 2]}),
        (np.ones((2, 3, 2, 2)), {"group": 2}),
        (np.ones((2, 3, 2)), {}),
    ],
    ids=["dilated", "grouped", "1-D"],
)
def test_an_unusual_one_is_refused(weight, attributes):
    source = Value((1, 2, 5, 5)[: weight.ndim], 0.05)
    case = Case.of(transposed(weight, **attributes), source, None)
    message = single.refusal(case, quantized=False)
    assert "it is dilated, grouped, quantized or not 2-D" in message
    assert "use nn.ConvTranspose2d" in message


def test_a_quantized_one_is_refused():
    source, result = Value((1, 2, 5, 5), 0.05), Value((1, 3, 6, 6), 0.1)
    weight = np.ones((2, 3, 2, 2))
    message = single.refusal(Case.of(transposed(weight), source, result))
    assert "it is dilated, grouped, quantized or not 2-D" in message


def test_automatic_padding_is_refused():
    source = Value((1, 2, 5, 5), 0.05)
    body = transposed(np.ones((2, 3, 2, 2)), auto_pad="SAME_UPPER", strides=[2, 2])
    message = single.refusal(Case.of(body, source, None), quantized=False)
    assert "it uses auto_pad" in message
    assert "give explicit pads" in message


def test_a_result_beyond_its_windows_is_refused():
    source = Value((1, 2, 5, 5), 0.05)
    body = transposed(np.ones((2, 3, 2, 2)), strides=[2, 2], output_padding=[1, 1])
    message = single.refusal(Case.of(body, source, None), quantized=False)
    assert "its result reaches beyond its windows" in message
    assert "use less output_padding" in message


@pytest.mark.parametrize(("position", "what"), [(1, "weight"), (2, "bias")])
def test_computed_parameters_are_refused(position, what):
    source = Value((1, 2, 5, 5), 0.05)
    body = transposed(np.ones((2, 3, 2, 2)), np.ones(3))
    graph = single.graph_of(Case.of(body, source, None), quantized=False)
    graph.tensors[graph.operators[0].inputs[position]].data = None
    with pytest.raises(UnsupportedError, match=f"its {what} is computed"):
        lower(graph)
