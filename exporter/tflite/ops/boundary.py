"""Where numbers change their kind: Quantize, Dequantize, Cast."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

_TYPES = {np.dtype(np.uint8): "UINT8", np.dtype(np.float32): "FLOAT32"}


@lowers("Quantize")
def quantize(lowering: Lowering, operator: Operator) -> None:
    """Lower real numbers, or integers of another scale or type, to int8."""
    source = lowering.source(operator, 0)
    lowering.writer.operator(
        "QUANTIZE",
        [lowering.index(source)],
        [lowering.index(lowering.result(operator))],
        version=1 if source.dtype == np.float32 else 2,
    )


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
    """Lower uint8 frames to float32."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if source.dtype not in _TYPES or result.dtype not in _TYPES:
        raise lowering.refuse(
            operator, f"it casts {source.dtype} to {result.dtype}", "cast outside of the model"
        )
    lowering.writer.operator(
        "CAST",
        [lowering.index(source)],
        [lowering.index(result)],
        inDataType=_TYPES[source.dtype],
        outDataType=_TYPES[result.dtype],
    )
