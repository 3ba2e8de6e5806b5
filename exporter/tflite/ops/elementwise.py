"""Add and Mul, of two values or of a value and a float constant."""

from __future__ import annotations

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.layout import broadcastable
from exporter.tflite.ops.fused import fused
from exporter.tflite.registry import lowers

CODES = {"Add": "ADD", "Mul": "MUL"}


@lowers("Add", "Mul")
def elementwise(lowering: Lowering, operator: Operator) -> None:
    """Lower an addition or multiplication with broadcasting."""
    result = lowering.result(operator)
    operands = []
    for index in (0, 1):
        tensor = lowering.source(operator, index)
        if tensor.data is None:
            operands.append(lowering.index(tensor))
        elif tensor.quantization is None and result.quantization is None:
            data = broadcastable(tensor.data, len(result.shape))
            operands.append(lowering.constant(tensor, data))
        else:
            raise lowering.refuse(operator, "it has a constant operand", "fold the constant")
    lowering.writer.operator(
        CODES[operator.kind],
        operands,
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        fusedActivationFunction=fused(operator),
    )
