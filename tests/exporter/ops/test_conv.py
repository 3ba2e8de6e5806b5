"""exporter/tflite/ops/conv.py: 2-D convolution, dense, depthwise, grouped and dilated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import single
import torch
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value

from exporter.tflite.layout import same_padding

LARGEST = 64
"""A weight. Two side by side sum to 128 at most: no 16-bit sum saturates on any CPU."""


@dataclass(frozen=True)
class Layer:
    """A drawn convolution.

    Attributes:
        groups, inputs, outputs: channels of the input and output in each of the groups.
        kernel, strides, dilations: rows, columns.
        pads: top, left, bottom, right.
        margins: rows and columns of the input beyond what one window needs.
        per_channel: whether each output channel has its own scale.
        bias: whether it has one.
        activation: "", "Relu" or "Relu6".
        seed: of the weights.
    """

    groups: int = 1
    inputs: int = 3
    outputs: int = 4
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    margins: tuple[int, int] = (4, 3)
    per_channel: bool = True
    bias: bool = True
    activation: str = ""
    seed: int = 0

    @property
    def source(self):
        window = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        height, width = (size + more for size, more in zip(window, self.margins, strict=True))
        return Value((1, self.groups * self.inputs, height, width), 0.03, -5)

    @property
    def weight(self):
        shape = (self.groups * self.outputs, self.inputs, *self.kernel)
        random = np.random.default_rng(self.seed)
        return random.integers(-LARGEST, LARGEST + 1, shape).astype(np.int8)

    @property
    def scale(self):
        random = np.random.default_rng(self.seed + 1)
        count = self.groups * self.outputs
        return np.float32(random.uniform(0.002, 0.01, count if self.per_channel else ()))

    @property
    def biases(self):
        count = self.groups * self.outputs
        return np.random.default_rng(self.seed + 2).integers(-3000, 3000, count).astype(np.int32)

    @property
    def bias_scale(self):
        """Rounded once from float64, as the canonical form asks."""
        return np.float32(np.float64(np.float32(self.source.scale)) * np.float64(self.scale))

    def body(self, net, x):
        given = [x, net.quantized_constant(self.weight, self.scale)]
        if self.bias:
            given.append(net.quantized_constant(self.biases, self.bias_scale))
        y = net.node(
            "Conv",
            given,
            group=self.groups,
            strides=self.strides,
            dilations=self.dilations,
            pads=self.pads,
        )
        if self.activation == "Relu":
            return net.node("Relu", [y])
        if self.activation == "Relu6":
            return net.node("Clip", [y, net.constant(np.float32(0)), net.constant(np.float32(6))])
        return y

    def case(self):
        scale, zero_point = 0.05, 3
        if self.activation:
            scale, zero_point = (6 / 255 if self.activation == "Relu6" else 0.04), -128
        shape = (1, self.groups * self.outputs, 1, 1)
        return Case.of(self.body, self.source, Value(shape, scale, zero_point))

    def counterpart(self, real):
        """The same in torch, float64 tensors."""
        wide = self.scale.reshape(-1, 1, 1, 1).astype(np.float64)
        weight = torch.from_numpy(self.weight * wide)
        bias = torch.from_numpy(self.biases * self.bias_scale.astype(np.float64))
        top, left, bottom, right = self.pads
        padded = torch.nn.functional.pad(torch.from_numpy(real), (left, right, top, bottom))
        return torch.nn.functional.conv2d(
            padded,
            weight,
            bias.expand(len(weight)) if self.bias else None,
            self.strides,
            dilation=self.dilations,
            groups=self.groups,
        )


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADS = st.tuples(*[st.integers(0, 2)] * 4)
DENSE = {"groups": st.just(1), "inputs": st.integers(1, 9), "outputs": st.integers(1, 17)}
DEPTHWISE = {"groups": st.integers(2, 17), "inputs": st.just(1), "outputs": st.integers(1, 2)}
GROUPED = {"groups": st.integers(2, 4), "inputs": st.integers(2, 4), "outputs": st.integers(1, 5)}


def layers(**channels):
    return st.builds(
        Layer,
        kernel=pairs,
        strides=pairs,
        dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        pads=PADS,
        margins=st.tuples(st.integers(0, 6), st.integers(0, 6)),
        per_channel=st.booleans(),
        bias=st.booleans(),
        activation=st.sampled_from(["", "Relu", "Relu6"]),
        seed=single.seeds,
        **channels,
    )


@pytest.mark.parametrize("channels", [DENSE, DEPTHWISE, GROUPED], ids=["1", "C", "g"])
@given(data=st.data())
@single.DRAWN
def test_any_convolution_is_exact(channels, data):
    layer = data.draw(layers(**channels))
    case = layer.case()
    single.assert_exact(case, layer.source.sample(layer.seed))


@pytest.mark.parametrize("channels", [DENSE, DEPTHWISE, GROUPED], ids=["1", "C", "g"])
@given(data=st.data())
@single.DRAWN
def test_any_convolution_in_float(channels, data):
    layer = data.draw(layers(**channels))
    sample = layer.source.sample(layer.seed)
    outcome = single.assert_real(Case.of(layer.body, layer.source, None), sample)
    if layer.activation:
        return
    expected = layer.counterpart(layer.source.real(sample)).numpy()
    largest = np.abs(expected).max()
    np.testing.assert_allclose(outcome.tflite[0], expected, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize(
    ("stride", "size", "wanted"), [(1, 9, "SAME"), (2, 9, "SAME"), (2, 8, "PAD"), (1, 2, "SAME")]
)
def test_padding_gets_a_name_where_one_fits(stride, size, wanted):
    layer = Layer(strides=(stride, stride), margins=(size - 3, size - 3))
    fits = same_padding(size, 3, stride) == (1, 1)
    assert fits == (wanted == "SAME")
    assert single.codes(layer.case()) == (["CONV_2D"] if fits else ["PAD", "CONV_2D"])


@pytest.mark.parametrize(
    ("groups", "inputs", "code"),
    [(1, 4, "CONV_2D"), (4, 1, "DEPTHWISE_CONV_2D"), (2, 2, "CONV_2D")],
)
def test_a_convolution_is_one_operator(groups, inputs, code):
    assert single.codes(Layer(groups=groups, inputs=inputs).case()) == [code]


@pytest.mark.parametrize("quantized", [True, False])
def test_automatic_padding_is_refused(quantized):
    layer = Layer(bias=False)

    def body(net, x):
        weight = net.quantized_constant(layer.weight, layer.scale)
        return net.node("Conv", [x, weight], auto_pad="SAME_UPPER")

    result = Value((1, 4, 7, 6), 0.05)
    message = single.refusal(Case.of(body, layer.source, result), quantized=quantized)
    assert "it uses auto_pad" in message
    assert "give explicit pads" in message


def test_a_computed_weight_is_refused():
    source, weight = Value((1, 2, 5, 5), 0.05), Value((3, 2, 2, 2), 0.05)
    case = Case.of(single.function("Conv"), (source, weight), None)
    message = single.refusal(case, quantized=False)
    assert "its weight is not a 2-D constant" in message
    assert "use nn.Conv2d" in message


def test_a_convolution_of_signals_is_refused():
    source = Value((1, 2, 9), 0.05)
    case = Case.of(single.function("Conv", np.ones((3, 2, 3))), source, None)
    message = single.refusal(case, quantized=False)
    assert "its weight is not a 2-D constant" in message


def test_a_computed_bias_is_refused():
    source, bias = Value((1, 2, 5, 5), 0.05), Value((3,), 0.05)

    def body(net, x, b):
        return net.node("Conv", [x, net.constant(np.ones((3, 2, 1, 1))), b])

    message = single.refusal(Case.of(body, (source, bias), None), quantized=False)
    assert "its bias is computed" in message
    assert "use a constant bias" in message
