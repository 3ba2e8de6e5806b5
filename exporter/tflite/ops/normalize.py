"""Normalization, in float: over neighbouring channels, the last axis, each channel's own values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporter.graph.model import Array, Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers


@lowers("LRN")
def local_response(lowering: Lowering, operator: Operator) -> None:
    """Lower x / (bias + alpha / size * sum of squares over `size` channels) ** beta.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.
    TFLite's alpha is ONNX's alpha / size, its radius (size - 1) / 2.
    """
    attributes = operator.attributes
    source, result = lowering.source(operator, 0), lowering.result(operator)
    size = int(attributes["size"])
    if size % 2 == 0 or not lowering.is_image(source):
        raise lowering.refuse(
            operator, f"it goes over {size} channels", "use an odd number of an image's channels"
        )
    real = lowering.real(source, result)
    lowering.real_result(
        result,
        lambda out: lowering.writer.operator(
            "LOCAL_RESPONSE_NORMALIZATION",
            [real],
            [out],
            radius=size // 2,
            bias=float(attributes.get("bias", 1.0)),
            alpha=float(attributes.get("alpha", 1e-4)) / size,
            beta=float(attributes.get("beta", 0.75)),
        ),
    )


@lowers("LayerNormalization")
def layer_norm(lowering: Lowering, operator: Operator) -> None:
    """Lower (x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis.

    Ba et al., arXiv:1607.06450. TFLite has no operator for it.
    """
    source = lowering.source(operator, 0)
    rank = len(source.shape)
    if operator.attributes.get("axis", -1) % rank != rank - 1 or lowering.is_image(source):
        raise lowering.refuse(operator, "it does not go over the last axis", "use [..., C] values")
    scale = lowering.constant_of(operator, 1, "scale")
    has_shift = len(operator.inputs) > 2 and operator.inputs[2]
    shift = lowering.constant_of(operator, 2, "shift") if has_shift else np.zeros(1)
    _standardize(lowering, operator, [rank - 1], scale, shift)


@lowers("InstanceNormalization")
def instance_norm(lowering: Lowering, operator: Operator) -> None:
    """Lower (x - mean) / sqrt(variance + epsilon) * scale + shift over a channel's own values.

    Ulyanov et al., arXiv:1607.08022. TFLite has no operator for it.
    """
    source = lowering.source(operator, 0)
    rank = len(source.shape)
    scale = lowering.constant_of(operator, 1, "scale")
    shift = lowering.constant_of(operator, 2, "shift")
    if lowering.is_image(source):
        _standardize(lowering, operator, [1, 2], scale, shift)
        return
    own = (-1, *(1,) * (rank - 2))
    axes = list(range(2, rank))
    _standardize(lowering, operator, axes, scale.reshape(own), shift.reshape(own))


def _standardize(
    lowering: Lowering, operator: Operator, axes: Sequence[int], scale: Array, shift: Array
) -> None:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, all in TFLite's order of axes."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    writer, name, shape = lowering.writer, operator.name, lowering.shape(source)
    short = [1 if axis in axes else size for axis, size in enumerate(shape)]
    over = lowering.integers(f"{name}_axes", axes)
    epsilon = lowering.number(f"{name}_epsilon", operator.attributes.get("epsilon", 1e-5))
    real = lowering.real(source, result)

    def emit(code: str, inputs: list[int], key: str, *, wide: bool, **options: bool) -> int:
        target = lowering.temporary(f"{name}_{key}", shape if wide else short)
        writer.operator(code, inputs, [target], **options)
        return target

    mean = emit("MEAN", [real, over], "mean", wide=False, keepDims=True)
    near = emit("SUB", [real, mean], "near", wide=True)
    # A mean's rounding error is large beside values that differ by little: what is left of it goes.
    left = emit("MEAN", [near, over], "left", wide=False, keepDims=True)
    centred = emit("SUB", [near, left], "centred", wide=True)
    squared = emit("MUL", [centred, centred], "squared", wide=True)
    variance = emit("MEAN", [squared, over], "variance", wide=False, keepDims=True)
    positive = emit("ADD", [variance, epsilon], "positive", wide=False)
    reciprocal = emit("RSQRT", [positive], "reciprocal", wide=False)
    normal = emit("MUL", [centred, reciprocal], "normal", wide=True)
    scaled = emit("MUL", [normal, lowering.number(f"{name}_scale", scale)], "scaled", wide=True)
    offset = lowering.number(f"{name}_shift", shift)
    lowering.real_result(result, lambda out: writer.operator("ADD", [scaled, offset], [out]))
