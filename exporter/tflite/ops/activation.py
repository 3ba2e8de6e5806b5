"""Activations that stand alone, because something else reads their input too."""

from __future__ import annotations

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

CODES = {"Relu": "RELU", "Relu6": "RELU6"}


@lowers("Relu", "Relu6")
def activation(lowering: Lowering, operator: Operator) -> None:
    """Lower max(x, 0) and min(max(x, 0), 6)."""
    result = lowering.result(operator)
    lowering.writer.operator(
        CODES[operator.kind],
        [lowering.index(lowering.source(operator, 0))],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
    )
