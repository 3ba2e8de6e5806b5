"""Activations with a TFLite operator whose int8 kernel ONNX Runtime's equals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exporter.graph.islands import WIDE_ISLANDS
from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

_CODES = {
    "Elu": ("ELU", 1),
    "Relu": ("RELU", 2),
    "Relu6": ("RELU6", 2),
    "Sigmoid": ("LOGISTIC", 2),
    "Tanh": ("TANH", 2),
}


@lowers("Elu", "Relu", "Relu6", "Sigmoid", "Tanh")
def activation(lowering: Lowering, operator: Operator) -> None:
    """Lower a function of one value that has an operator of its own."""
    if operator.kind == "Elu" and operator.attributes.get("alpha", 1.0) != 1.0:
        raise lowering.refuse(operator, "its alpha is not 1", "use nn.ELU()")
    code, version = _CODES[operator.kind]
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if operator.kind in WIDE_ISLANDS and source.dtype == np.int16:
        _in_float(lowering, operator, code)
        return
    quantized = result.quantization is not None
    lowering.writer.operator(
        code,
        [lowering.index(source)],
        [lowering.index(result)],
        version=version if quantized else 1,
    )


def _in_float(lowering: Lowering, operator: Operator, code: str, **options: Any) -> None:
    """Lower an operator that has no int16 kernel, or a poor one."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    real = lowering.real(source, result)
    lowering.real_result(
        result, lambda out: lowering.writer.operator(code, [real], [out], **options)
    )


@lowers("Gelu")
def gelu(lowering: Lowering, operator: Operator) -> None:
    """Lower x * Phi(x) (Hendrycks and Gimpel, arXiv:1606.08415)."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    approximate = operator.attributes.get("approximate", "none") == "tanh"
    if source.dtype == np.int16:
        _in_float(lowering, operator, "GELU", approximate=approximate)
        return
    lowering.writer.operator(
        "GELU",
        [lowering.index(source)],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        approximate=approximate,
    )


@lowers("Softmax")
def softmax(lowering: Lowering, operator: Operator) -> None:
    """Lower a softmax over the axis that TFLite has last."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    axis = lowering.axis(source, int(operator.attributes.get("axis", -1)))
    if axis != len(source.shape) - 1:
        raise lowering.refuse(
            operator,
            f"it goes over axis {axis} in TFLite's order of {len(source.shape)}",
            "take it over the channels of an image, or over the last axis",
        )
    if source.dtype == np.int16:
        _in_float(lowering, operator, "SOFTMAX", beta=1.0)
        return
    lowering.writer.operator(
        "SOFTMAX",
        [lowering.index(source)],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        beta=1.0,
    )


@lowers("Clip")
def clip(lowering: Lowering, operator: Operator) -> None:
    """Lower min(max(x, low), high) with limits as integers of the value's own scale."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    index = lowering.index(source)
    steps = []
    for code, position in (("MAXIMUM", 1), ("MINIMUM", 2)):
        name = operator.inputs[position] if position < len(operator.inputs) else ""
        if not name:
            continue
        limit = float(lowering.constant_of(operator, position, "limit").reshape(()))
        if math.isfinite(limit) and abs(limit) < float(np.finfo(np.float32).max):
            steps.append((code, limit))
    if not steps:
        lowering.alias(result, index)
        return
    for position, (code, limit) in enumerate(steps):
        last = position == len(steps) - 1
        name = f"{operator.name}_{code.lower()}"
        target = (
            lowering.index(result) if last else lowering.like(result, name, lowering.shape(result))
        )
        constant = _limit(lowering, operator, limit, f"{name}_limit")
        lowering.writer.operator(
            code, [index, constant], [target], version=2 if result.quantization is not None else 1
        )
        index = target


def _limit(lowering: Lowering, operator: Operator, limit: float, name: str) -> int:
    result = lowering.result(operator)
    if result.quantization is None:
        return lowering.number(name, [limit])
    scale, zero_point = float(result.quantization.scale), result.quantization.zero_point
    kind = np.iinfo(result.dtype)
    integer = min(max(round(limit / scale) + zero_point, kind.min), kind.max)
    data = np.array([integer], result.dtype)
    return lowering.constant(type(result)(name, (1,), result.dtype, result.quantization), data)
