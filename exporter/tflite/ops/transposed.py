"""ConvTranspose → TRANSPOSE_CONV in float, and a SLICE where the model crops its result."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

VERSION = 3  # takes a bias


@lowers("ConvTranspose")
def transposed_convolution(lowering: Lowering, operator: Operator) -> None:
    """Lower a dense 2-D transposed convolution with a constant weight [in, out, kh, kw]."""
    attributes = operator.attributes
    source, result = lowering.source(operator, 0), lowering.result(operator)
    weight = lowering.constant_of(operator, 1, "weight")
    plain = set(attributes.get("dilations", [1])) == {1} and attributes.get("group", 1) == 1
    if weight.ndim != 4 or not plain or result.quantization is not None:
        raise lowering.refuse(
            operator, "it is dilated, grouped, quantized or not 2-D", "use nn.ConvTranspose2d"
        )
    strides = attributes.get("strides", [1, 1])
    pads = _pads(lowering, operator, weight.shape[2:], strides)
    batch, height, width, channels = lowering.shape(result)
    full = (batch, height + pads[0] + pads[2], width + pads[1] + pads[3], channels)
    name = operator.name
    kernel = lowering.number(f"{name}_kernel", weight.transpose(1, 2, 3, 0))
    has_bias = len(operator.inputs) > 2 and operator.inputs[2]
    offset = lowering.constant_of(operator, 2, "bias") if has_bias else np.zeros(channels)
    cropped = any(pads)
    target = lowering.temporary(f"{name}_full", full) if cropped else lowering.index(result)
    lowering.writer.operator(
        "TRANSPOSE_CONV",
        [
            lowering.integers(f"{name}_shape", full),
            kernel,
            lowering.index(source),
            lowering.number(f"{name}_bias", offset),
        ],
        [target],
        version=VERSION,
        padding="VALID",
        strideH=strides[0],
        strideW=strides[1],
    )
    if cropped:
        begin = lowering.integers(f"{name}_begin", [0, pads[0], pads[1], 0])
        size = lowering.integers(f"{name}_size", lowering.shape(result))
        lowering.writer.operator("SLICE", [target, begin, size], [lowering.index(result)])


def _pads(
    lowering: Lowering, operator: Operator, kernel: tuple[int, ...], strides: list[int]
) -> list[int]:
    """What is cropped at the top, left, bottom and right of the full result."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if operator.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise lowering.refuse(operator, "it uses auto_pad", "give explicit pads")
    begins = operator.attributes.get("pads", [0, 0, 0, 0])[:2]
    ends = []
    for axis in (0, 1):
        full = (source.shape[2 + axis] - 1) * strides[axis] + kernel[axis]
        ends.append(full - result.shape[2 + axis] - begins[axis])
    if min(*begins, *ends) < 0:
        raise lowering.refuse(
            operator, "its result reaches beyond its windows", "use less output_padding"
        )
    return [*begins, *ends]
