"""Operators that move values: Reshape, Flatten, Concat."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.layout import shape_of
from exporter.tflite.registry import lowers


@lowers("Reshape", "Flatten")
def reshape(lowering: Lowering, operator: Operator) -> None:
    """Lower a reshape that keeps the order of values in NHWC, or whose order a Gemm undoes."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    if not _keeps_order(source.shape, result.shape) and not _read_by_gemm_only(lowering, operator):
        raise lowering.refuse(
            operator,
            f"it takes an image {list(source.shape)} apart to {list(result.shape)}",
            "pool the image to 1x1 first, or let only nn.Linear read the flattened image",
        )
    shape = shape_of(result.shape)
    lowering.writer.operator(
        "RESHAPE",
        [lowering.index(source), lowering.integers(f"{operator.name}_shape", shape)],
        [lowering.index(result)],
        newShape=np.array(shape, np.int32),
    )


def _keeps_order(source: tuple[int, ...], result: tuple[int, ...]) -> bool:
    images = [shape for shape in (source, result) if len(shape) == 4]
    return source == result or all(shape[2] * shape[3] == 1 for shape in images)


def _read_by_gemm_only(lowering: Lowering, operator: Operator) -> bool:
    name = operator.outputs[0]
    readers = [other for other in lowering.graph.operators if name in other.inputs]
    flattens = len(lowering.graph.tensors[name].shape) == 2 and name not in lowering.graph.outputs
    return flattens and all(reader.kind == "Gemm" for reader in readers)


@lowers("Concat")
def concat(lowering: Lowering, operator: Operator) -> None:
    """Lower a concatenation of values that share one scale."""
    sources = [lowering.source(operator, index) for index in range(len(operator.inputs))]
    result = lowering.result(operator)
    lowering.writer.operator(
        "CONCATENATION",
        [lowering.index(source) for source in sources],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        axis=lowering.axis(operator, int(operator.attributes["axis"])),
        fusedActivationFunction="NONE",
    )
