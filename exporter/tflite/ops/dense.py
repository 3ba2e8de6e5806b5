"""Gemm → FULLY_CONNECTED [out, in]."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.ops.conv import bias_of
from exporter.tflite.ops.fused import fused
from exporter.tflite.ops.shape import flattens_for_dense
from exporter.tflite.registry import lowers

PER_CHANNEL_VERSION = 5
PER_TENSOR_VERSION = 4


@lowers("Gemm")
def gemm(lowering: Lowering, operator: Operator) -> None:
    """Lower x @ weight.T + bias, with x [N, in] and a constant weight [out, in]."""
    attributes = operator.attributes
    plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
    if not plain or attributes.get("transA", 0) or not attributes.get("transB", 0):
        raise lowering.refuse(operator, "it is not x @ weight.T + bias", "use nn.Linear on [N, in]")
    weight = lowering.source(operator, 1)
    if weight.data is None:
        raise lowering.refuse(operator, "its weight is computed", "use a constant weight")
    kernel = lowering.constant(weight, _in_source_order(lowering, operator, weight))
    per_channel = weight.quantization is not None and weight.quantization.scale.ndim > 0
    lowering.writer.operator(
        "FULLY_CONNECTED",
        [
            lowering.index(lowering.source(operator, 0)),
            kernel,
            bias_of(lowering, operator, len(weight.data)),
        ],
        [lowering.index(lowering.result(operator))],
        version=PER_CHANNEL_VERSION if per_channel else PER_TENSOR_VERSION,
        fusedActivationFunction=fused(operator),
    )


def _in_source_order(lowering: Lowering, operator: Operator, weight: Tensor) -> np.ndarray:
    """Weight columns in the order of the flattened NHWC image that they multiply."""
    assert weight.data is not None  # noqa: S101 - gemm has checked it
    producer = lowering.producers.get(operator.inputs[0])
    if producer is None or not flattens_for_dense(lowering, producer):
        return weight.data
    source = lowering.source(producer, 0)
    image = source.shape
    if not lowering.is_image(source) or image[2] * image[3] == 1:
        return weight.data
    columns = weight.data.reshape(len(weight.data), *image[1:]).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(columns.reshape(weight.data.shape))
