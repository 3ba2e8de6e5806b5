"""MaxPool → MAX_POOL_2D; AveragePool → AVERAGE_POOL_2D in float."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator
from exporter.graph.windows import windows_of
from exporter.tflite.context import FLOAT, Lowering
from exporter.tflite.registry import lowers

QUANTIZED_VERSION = 2


@lowers("MaxPool")
def max_pool(lowering: Lowering, operator: Operator) -> None:
    """Lower a 2-D maximum; padding is explicit, with the smallest value of the type."""
    attributes = operator.attributes
    kernel = attributes["kernel_shape"]
    unusual = attributes.get("auto_pad", "NOTSET") != "NOTSET" or attributes.get("ceil_mode", 0)
    if len(kernel) != 2 or unusual or set(attributes.get("dilations", [1])) != {1}:
        raise lowering.refuse(
            operator, "it is dilated, rounds up or is not 2-D", "use nn.MaxPool2d's defaults"
        )
    data = lowering.source(operator, 0)
    source = lowering.index(data)
    if any(attributes.get("pads", [0, 0, 0, 0])):
        source = _pad(lowering, operator, attributes["pads"])
    _pool(lowering, operator, source, lowering.index(lowering.result(operator)), "VALID")


def _pool(lowering: Lowering, operator: Operator, source: int, result: int, padding: str) -> None:
    attributes = operator.attributes
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    maximum = operator.kind == "MaxPool"
    quantized = maximum and lowering.result(operator).dtype == np.int8
    lowering.writer.operator(
        "MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D",
        [source],
        [result],
        version=QUANTIZED_VERSION if quantized else 1,
        padding=padding,
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        strideH=strides[0],
        strideW=strides[1],
        fusedActivationFunction="NONE",
    )


def _pad(lowering: Lowering, operator: Operator, pads: list[int]) -> int:
    data = lowering.source(operator, 0)
    top, left, bottom, right = pads
    batch, height, width, channels = lowering.shape(data)
    shape = (batch, height + top + bottom, width + left + right, channels)
    padded = lowering.like(data, f"{operator.name}_pad", shape)
    amounts = [(0, 0), (top, bottom), (left, right), (0, 0)]
    lowest = np.finfo(np.float32).min if data.dtype == FLOAT else np.iinfo(data.dtype).min
    value = lowering.constant(
        type(data)(f"{operator.name}_lowest", (1,), data.dtype, data.quantization),
        np.array([lowest], data.dtype),
    )
    inputs = [
        lowering.index(data),
        lowering.integers(f"{operator.name}_pads", amounts),
        value,
    ]
    lowering.writer.operator("PADV2", inputs, [padded], version=QUANTIZED_VERSION)
    return padded


@lowers("AveragePool")
def average_pool(lowering: Lowering, operator: Operator) -> None:
    """Lower a 2-D mean, in float.

    Padding that is left out and not what "SAME" pads: zeros are counted first, then each mean is
    multiplied with window / (values that count), a constant for each place.
    """
    attributes = operator.attributes
    source, result = lowering.source(operator, 0), lowering.result(operator)
    kernel = attributes["kernel_shape"]
    unusual = attributes.get("auto_pad", "NOTSET") != "NOTSET"
    if len(kernel) != 2 or unusual or set(attributes.get("dilations", [1])) != {1}:
        raise lowering.refuse(
            operator, "it is dilated, names its padding or is not 2-D", "use nn.AvgPool2d"
        )
    windows = windows_of(operator, source.shape, result.shape)
    pads = [(axis.before, axis.after) for axis in windows]
    real = lowering.real(source, result)
    shares = np.outer(*(axis.shares() for axis in windows)).astype(np.float32)
    if any(map(any, pads)) and all(axis.is_same for axis in windows):
        lowering.real_result(result, lambda out: _pool(lowering, operator, real, out, "SAME"))
        return
    if any(map(any, pads)):
        real = _pad_with_zeros(lowering, operator, real, pads)
    if (shares == 1.0).all():
        lowering.real_result(result, lambda out: _pool(lowering, operator, real, out, "VALID"))
        return
    counted = lowering.temporary(f"{operator.name}_counted", lowering.shape(result))
    _pool(lowering, operator, real, counted, "VALID")
    factors = lowering.number(f"{operator.name}_shares", shares[None, :, :, None])
    lowering.real_result(
        result, lambda out: lowering.writer.operator("MUL", [counted, factors], [out])
    )


def _pad_with_zeros(
    lowering: Lowering, operator: Operator, real: int, pads: list[tuple[int, int]]
) -> int:
    batch, height, width, channels = lowering.shape(lowering.source(operator, 0))
    shape = (batch, height + sum(pads[0]), width + sum(pads[1]), channels)
    padded = lowering.temporary(f"{operator.name}_padded", shape)
    amounts = lowering.integers(f"{operator.name}_pads", [(0, 0), *pads, (0, 0)])
    lowering.writer.operator("PAD", [real, amounts], [padded])
    return padded


@lowers("GlobalAveragePool")
def global_average_pool(lowering: Lowering, operator: Operator) -> None:
    """Lower the mean over height and width."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    lowering.writer.operator(
        "MEAN",
        [lowering.index(source), lowering.integers(f"{operator.name}_axes", [1, 2])],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        keepDims=True,
    )
