"""Operators that give positions: ArgMax, ArgMin, TopK."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

_CODES = {"ArgMax": "ARG_MAX", "ArgMin": "ARG_MIN"}
INTEGER = np.dtype(np.int32)


@lowers("ArgMax", "ArgMin")
def arg(lowering: Lowering, operator: Operator) -> None:
    """Lower the first position of the largest or smallest value."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    attributes = operator.attributes
    if attributes.get("select_last_index", 0):
        raise lowering.refuse(operator, "it takes the last of equal values", "take the first")
    axis = lowering.axis(source, int(attributes.get("axis", 0)))
    if lowering.is_image(source) and axis != len(source.shape) - 1:
        raise lowering.refuse(operator, "it goes over rows or columns", "take it over channels")
    position = lowering.integers(f"{operator.name}_axis", axis)
    shape = list(lowering.shape(source))
    del shape[axis]
    wide = source.dtype == np.int16  # no kernel: floats have the same order
    index = lowering.real(source, source) if wide else lowering.index(source)
    flat = lowering.writer.tensor(f"{operator.name}_flat", shape, np.dtype(np.int64))
    lowering.writer.operator(
        _CODES[operator.kind],
        [index, position],
        [flat],
        version=2 if source.dtype == np.int8 else 1,
        outputType="INT64",
    )
    _reshaped(lowering, operator, flat, result)


def _reshaped(lowering: Lowering, operator: Operator, index: int, result: Tensor) -> None:
    """Keep an axis of size one where ONNX does."""
    shape = lowering.sizes(lowering.shape(result))
    lowering.writer.operator(
        "RESHAPE",
        [index, lowering.integers(f"{operator.name}_shape", shape)],
        [lowering.index(result)],
        newShape=np.array(shape, np.int32),
    )


@lowers("TopK")
def top_k(lowering: Lowering, operator: Operator) -> None:
    """Lower the k largest values of the last axis and their positions."""
    source = lowering.source(operator, 0)
    attributes = operator.attributes
    axis = lowering.axis(source, int(attributes.get("axis", -1)))
    if axis != len(source.shape) - 1 or not attributes.get("largest", 1):
        raise lowering.refuse(
            operator, "it is not for the largest of the last axis", "use x.topk(k)"
        )
    count = int(lowering.constant_of(operator, 1, "k").reshape(()))
    shape = (*lowering.shape(source)[:-1], count)
    values, positions = operator.outputs
    tensors = lowering.graph.tensors
    places = lowering.writer.tensor(f"{operator.name}_places", shape, INTEGER)
    best = (
        lowering.index(tensors[values])
        if values
        else lowering.like(source, f"{operator.name}_values", shape)
    )
    lowering.writer.operator(
        "TOPK_V2",
        [lowering.index(source), lowering.integers(f"{operator.name}_k", count)],
        [best, places],
        version=2 if source.dtype == np.int8 else 1,
    )
    if positions:
        lowering.writer.operator(
            "CAST",
            [places],
            [lowering.index(tensors[positions])],
            inDataType="INT32",
            outDataType="INT64",
        )
