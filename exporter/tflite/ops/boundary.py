"""Where numbers change their kind: Quantize, Dequantize, Cast."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator, Tensor
from exporter.tflite.context import FLOAT, Lowering
from exporter.tflite.registry import lowers

_TYPES = {
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.int8): "INT8",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float32): "FLOAT32",
    np.dtype(np.bool_): "BOOL",
}


@lowers("Quantize")
def quantize(lowering: Lowering, operator: Operator) -> None:
    """Lower real numbers, or integers of another scale or type, to int8 or int16.

    Integers of another scale go through float: the integer kernel rounds otherwise. So do frames
    that become int16: LiteRT has no kernel for it.
    """
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if source.dtype == FLOAT or _only_shifts(source, result):
        lowering.writer.operator(
            "QUANTIZE",
            [lowering.index(source)],
            [lowering.index(result)],
            version=1 if source.dtype == FLOAT else 2,
        )
        return
    real = lowering.real(source, result)
    lowering.writer.operator("QUANTIZE", [real], [lowering.index(result)])


def _only_shifts(source: Tensor, result: Tensor) -> bool:
    """Whether it changes the zero point only: uint8 to int8."""
    one, other = source.quantization, result.quantization
    if result.dtype == np.int16:
        return False
    return one is not None and other is not None and bool(one.scale == other.scale)


@lowers("Dequantize")
def dequantize(lowering: Lowering, operator: Operator) -> None:
    """Lower int8 to real numbers."""
    lowering.writer.operator(
        "DEQUANTIZE",
        [lowering.index(lowering.source(operator, 0))],
        [lowering.index(lowering.result(operator))],
        version=2,
    )


@lowers("Cast")
def cast(lowering: Lowering, operator: Operator) -> None:
    """Lower a change of type, with real numbers cut off towards zero."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if source.dtype not in _TYPES or result.dtype not in _TYPES:
        raise lowering.refuse(
            operator, f"it casts {source.dtype} to {result.dtype}", "cast outside of the model"
        )
    real = source.quantization is not None
    index = lowering.real(source, result) if real else lowering.index(source)
    lowering.writer.operator(
        "CAST",
        [index],
        [lowering.index(result)],
        inDataType="FLOAT32" if real else _TYPES[source.dtype],
        outDataType=_TYPES[result.dtype],
    )
