"""MaxPool → MAX_POOL_2D; ReduceMean over height and width → MEAN."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

QUANTIZED_VERSION = 2


@lowers("MaxPool")
def max_pool(lowering: Lowering, operator: Operator) -> None:
    """Lower a 2-D maximum; padding is explicit, with the smallest value of the type."""
    attributes = operator.attributes
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    unusual = attributes.get("auto_pad", "NOTSET") != "NOTSET" or attributes.get("ceil_mode", 0)
    if len(kernel) != 2 or unusual or set(attributes.get("dilations", [1])) != {1}:
        raise lowering.refuse(
            operator, "it is dilated, rounds up or is not 2-D", "use nn.MaxPool2d's defaults"
        )
    data = lowering.source(operator, 0)
    source = lowering.index(data)
    if any(attributes.get("pads", [0, 0, 0, 0])):
        source = _pad(lowering, operator, attributes["pads"])
    lowering.writer.operator(
        "MAX_POOL_2D",
        [source],
        [lowering.index(lowering.result(operator))],
        version=QUANTIZED_VERSION if data.dtype == np.int8 else 1,
        padding="VALID",
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        strideH=strides[0],
        strideW=strides[1],
        fusedActivationFunction="NONE",
    )


def _pad(lowering: Lowering, operator: Operator, pads: list[int]) -> int:
    data = lowering.source(operator, 0)
    top, left, bottom, right = pads
    height, width = data.shape[2] + top + bottom, data.shape[3] + left + right
    padded = lowering.like(data, f"{operator.name}_pad", (*data.shape[:2], height, width))
    amounts = [(0, 0), (top, bottom), (left, right), (0, 0)]
    lowest = np.iinfo(np.int8).min if data.dtype == np.int8 else np.finfo(np.float32).min
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


@lowers("ReduceMean")
def reduce_mean(lowering: Lowering, operator: Operator) -> None:
    """Lower a mean over constant axes."""
    axes = operator.attributes.get("axes")
    if axes is None and len(operator.inputs) > 1:
        data = lowering.source(operator, 1).data
        axes = None if data is None else data.tolist()
    if axes is None:
        raise lowering.refuse(operator, "its axes are computed", "give constant axes")
    source, result = lowering.source(operator, 0), lowering.result(operator)
    keep = bool(operator.attributes.get("keepdims", 1))
    if not keep and {axis % 4 for axis in axes} != {2, 3}:
        raise lowering.refuse(operator, "it drops the channels' axis", "keep the dimensions")
    lowering.writer.operator(
        "MEAN",
        [
            lowering.index(source),
            lowering.integers(f"{operator.name}_axes", [lowering.axis(operator, a) for a in axes]),
        ],
        [lowering.index(result)],
        version=2 if source.dtype == np.int8 else 1,
        keepDims=keep,
    )
