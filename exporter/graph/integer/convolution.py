"""Conv, Gemm and MatMul: exact sums of products, requantized once."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.graph.integer.executor import Operands, executes, saturate
from exporter.graph.model import Array, Quantization


@executes("Conv")
def conv(operands: Operands) -> Array:
    """2-D convolution of [N, C, H, W] with [out, C / groups, kh, kw]."""
    data, weight = _factor(operands, 0), operands.array(1).astype(np.float64)
    pads = operands.numbers("pads", (0, 0, 0, 0))
    strides = operands.numbers("strides", (1, 1))
    dilations = operands.numbers("dilations", (1, 1))
    groups = operands.operator.attributes.get("group", 1)
    padded = np.pad(data, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    windows = _windows(padded, weight.shape[2:], strides, dilations)
    parts = [
        np.einsum("nchwij,ocij->nohw", window, kernel, optimize=True)
        for window, kernel in zip(
            np.split(windows, groups, axis=1), np.split(weight, groups, axis=0), strict=True
        )
    ]
    return _requantized(operands, np.concatenate(parts, axis=1), (1, -1, 1, 1))


def _windows(
    data: Array, kernel: tuple[int, ...], strides: list[int], dilations: list[int]
) -> Array:
    """[N, C, rows, columns, kh, kw]."""
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(data, tuple(reach), axis=(2, 3))
    strided: Array = views[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return strided


@executes("Gemm")
def gemm(operands: Operands) -> Array:
    """X [rows, in] times a weight [out, in]."""
    sums = _factor(operands, 0) @ operands.array(1).astype(np.float64).T
    return _requantized(operands, sums, (1, -1))


@executes("MatMul")
def matmul(operands: Operands) -> Array:
    """[..., n, k] times [..., k, m], both computed."""
    sums = _centred(operands, 0) @ _centred(operands, 1)
    return _requantized(operands, sums, ())


def _in_float(operands: Operands) -> bool:
    """Whether it is a layer that stays float: its weight has no scale."""
    weight = operands.inputs[1]
    return weight is not None and weight.data is not None and weight.quantization is None


def _factor(operands: Operands, index: int) -> Array:
    """What is multiplied with the weight: steps from zero, or real numbers in a float layer."""
    return operands.real(index) if _in_float(operands) else _centred(operands, index)


def _centred(operands: Operands, index: int) -> Array:
    """A value less its zero point, float64: sums of products up to 2**53 are exact."""
    tensor = operands.inputs[index]
    quantization = None if tensor is None else tensor.quantization
    zero_point = 0 if quantization is None else quantization.zero_point
    centred: Array = operands.array(index).astype(np.float64) - zero_point
    return centred


def _activated(real: Array, activation: str) -> Array:
    limits = {"": (None, None), "Relu": (0.0, None), "Relu6": (0.0, 6.0)}[activation]
    return real if limits == (None, None) else np.clip(real, *limits)


def _quantization(operands: Operands, index: int) -> Quantization:
    tensor = operands.inputs[index]
    if tensor is None or tensor.quantization is None:
        raise ValueError(f"'{operands.operator.name}' has no scale at input {index}")
    return tensor.quantization


def _requantized(operands: Operands, sums: Array, channels: tuple[int, ...]) -> Array:
    """Sums of products, biased, times s_a * s_b / s_out in float32, rounded half to even.

    For int16 in float64: float32 does not hold its sums.
    """
    if len(operands.arrays) > 2 and operands.arrays[2] is not None:
        sums = sums + operands.array(2).astype(np.float64).reshape(channels)
    if _in_float(operands):
        return operands.quantized(_activated(sums, operands.operator.activation))
    kind: Any = np.float64 if operands.result.dtype == np.int16 else np.float32
    scales = [_quantization(operands, index).scale.astype(kind) for index in (0, 1)]
    if operands.result.quantization is None:
        raise ValueError(f"'{operands.operator.name}' has no scale at its output")
    ratio = scales[0] * scales[1] / operands.result.quantization.scale.astype(kind)
    if ratio.ndim:
        ratio = ratio.reshape(channels)
    steps = np.rint(sums.astype(kind) * ratio)
    result = saturate(steps, operands.result)
    if operands.operator.activation:
        zero_point = operands.result.quantization.zero_point
        result = np.maximum(result, result.dtype.type(zero_point))
    if operands.operator.activation == "Relu6":
        top = round(6.0 / float(operands.result.quantization.scale)) + zero_point
        result = np.minimum(result, min(top, np.iinfo(result.dtype).max)).astype(result.dtype)
    return result
