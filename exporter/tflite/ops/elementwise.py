"""Arithmetic on two values, or on a value and a constant."""

from __future__ import annotations

from exporter.graph.model import Operator, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.ops.fused import fused
from exporter.tflite.registry import lowers

_CODES = {"Add": "ADD", "Div": "DIV", "Mul": "MUL", "Sub": "SUB"}
_SELECTS = {"Max": "MAXIMUM", "Min": "MINIMUM"}


@lowers("Add", "Mul", "Sub")
def arithmetic(lowering: Lowering, operator: Operator) -> None:
    """Lower x + y, x * y, x - y with broadcasting; in integers where all have scales."""
    result = lowering.result(operator)
    operands = [lowering.source(operator, index) for index in (0, 1)]
    if result.quantization is not None and not all(map(_is_integer, operands)):
        _in_float(lowering, operator, operands)
        return
    lowering.writer.operator(
        _CODES[operator.kind],
        [lowering.operand(tensor, result) for tensor in operands],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
        fusedActivationFunction=fused(operator),
    )


def _is_integer(tensor: Tensor) -> bool:
    return tensor.quantization is not None


@lowers("Div")
def divide(lowering: Lowering, operator: Operator) -> None:
    """Lower x / y in float: TFLite has no int8 kernel for it."""
    _in_float(lowering, operator, [lowering.source(operator, index) for index in (0, 1)])


def _in_float(lowering: Lowering, operator: Operator, operands: list[Tensor]) -> None:
    result = lowering.result(operator)
    inputs = [lowering.real(tensor, result) for tensor in operands]
    code, activation = _CODES[operator.kind], fused(operator)
    lowering.real_result(
        result,
        lambda out: lowering.writer.operator(
            code, inputs, [out], fusedActivationFunction=activation
        ),
    )


@lowers("Max", "Min")
def select(lowering: Lowering, operator: Operator) -> None:
    """Lower the larger or smaller of values that share one scale."""
    result = lowering.result(operator)
    if len(operator.inputs) != 2:
        raise lowering.refuse(operator, "it has not two operands", "compare two at a time")
    lowering.writer.operator(
        _SELECTS[operator.kind],
        [lowering.operand(lowering.source(operator, index), result) for index in (0, 1)],
        [lowering.index(result)],
        version=2 if result.quantization is not None else 1,
    )
