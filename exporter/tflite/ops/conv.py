"""Conv → CONV_2D [out, kh, kw, in] or DEPTHWISE_CONV_2D [1, kh, kw, out]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exporter.graph.model import Array, Operator, Quantization, Tensor, bias_scale
from exporter.tflite.context import Lowering
from exporter.tflite.layout import same_padding
from exporter.tflite.ops.fused import fused
from exporter.tflite.ops.resize import channel_order, reorders
from exporter.tflite.registry import lowers

CONV_VERSION = 3  # per-channel int8 weights
PAD_VERSION = 2


@lowers("Conv")
def conv(lowering: Lowering, operator: Operator) -> None:
    """Lower a 2-D convolution, dense or depthwise, with a constant weight [out, in, kh, kw]."""
    data, weight = lowering.source(operator, 0), lowering.source(operator, 1)
    groups = int(operator.attributes.get("group", 1))
    if weight.data is None or weight.data.ndim != 4:
        raise lowering.refuse(operator, "its weight is not a 2-D constant", "use nn.Conv2d")
    depthwise = groups > 1 and groups == data.shape[1]
    strides = operator.attributes.get("strides", [1, 1])
    dilations = operator.attributes.get("dilations", [1, 1])
    source, padding = pad_input(lowering, operator, weight.data.shape[2:], strides, dilations)
    options: dict[str, object] = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
        "fusedActivationFunction": fused(operator),
    }
    if depthwise:
        options["depthMultiplier"] = weight.data.shape[0] // groups
    order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    order_out = _output_order(lowering, operator, weight.data.shape[0])
    ordered = in_order(weight, order_out)
    kernel_data = np.ascontiguousarray(weight.data[order_out].transpose(order))
    kernel = lowering.constant(ordered, kernel_data, axis)
    lowering.writer.operator(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [source, kernel, bias_of(lowering, operator, weight.data.shape[0], order_out)],
        [lowering.index(lowering.result(operator))],
        version=CONV_VERSION,
        **options,
    )


def _output_order(lowering: Lowering, operator: Operator, channels: int) -> Array:
    """The order in which the output channels are given; another than their own for a shuffle."""
    name = operator.outputs[0]
    if not reorders(lowering, name):
        return np.arange(channels)
    return channel_order(channels, int(lowering.readers[name][0].attributes["blocksize"]))


def in_order(tensor: Tensor, order: Array) -> Tensor:
    """A constant's description with its channels in another order."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale.ndim == 0:
        return tensor
    moved = replace(quantization, scale=quantization.scale[order])
    return replace(tensor, quantization=moved)


def bias_of(
    lowering: Lowering, operator: Operator, channels: int, order: Array | None = None
) -> int:
    """The bias [out], in `order` if given; zeros of the right type where there is none."""
    if len(operator.inputs) > 2 and operator.inputs[2]:
        bias = lowering.source(operator, 2)
        if bias.data is None:
            raise lowering.refuse(operator, "its bias is computed", "use a constant bias")
        integers = _bias_type(lowering, operator, bias.data)
        if order is None:
            return lowering.constant(bias, integers)
        return lowering.constant(in_order(bias, order), integers[order])
    data, weight = lowering.source(operator, 0).quantization, lowering.source(operator, 1)
    name = f"{operator.name}_bias"
    if data is None or weight.quantization is None:
        return lowering.number(name, np.zeros(channels))
    # XNNPACK leaves a convolution whose bias has no scale to kernels that round otherwise.
    scale = bias_scale(data, weight.quantization)
    zero = Tensor(name, (channels,), np.dtype(np.int32), Quantization(scale, 0))
    ordered = zero if order is None else in_order(zero, order)
    zeros = _bias_type(lowering, operator, np.zeros(channels, np.int32))
    return lowering.constant(ordered, zeros)


def _bias_type(lowering: Lowering, operator: Operator, bias: Array) -> Array:
    """The bias in the type of the kernel's sums: int64 where activations are int16."""
    wide = lowering.source(operator, 0).dtype == np.int16 and bias.dtype == np.int32
    return bias.astype(np.int64) if wide else bias


def pad_input(
    lowering: Lowering,
    operator: Operator,
    kernel: tuple[int, ...],
    strides: list[int],
    dilations: list[int],
) -> tuple[int, str]:
    """The input's index and the padding's name; a PAD in front where no name fits."""
    data = lowering.source(operator, 0)
    if operator.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise lowering.refuse(operator, "it uses auto_pad", "give explicit pads")
    pads = operator.attributes.get("pads", [0, 0, 0, 0])
    wanted = [(pads[0], pads[2]), (pads[1], pads[3])]
    if not any(pads):
        return lowering.index(data), "VALID"
    sizes = [(kernel[axis] - 1) * dilations[axis] + 1 for axis in (0, 1)]
    same = [same_padding(data.shape[2 + axis], sizes[axis], strides[axis]) for axis in (0, 1)]
    if wanted == same:
        return lowering.index(data), "SAME"
    height, width = data.shape[2] + sum(wanted[0]), data.shape[3] + sum(wanted[1])
    shape = (data.shape[0], height, width, data.shape[1])
    padded = lowering.like(data, f"{operator.name}_pad", shape)
    amounts = lowering.integers(f"{operator.name}_pads", [(0, 0), *wanted, (0, 0)])
    lowering.writer.operator("PAD", [lowering.index(data), amounts], [padded], version=PAD_VERSION)
    return padded, "VALID"
