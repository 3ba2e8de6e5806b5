"""Functions of one value in float, between DEQUANTIZE and QUANTIZE where the value is int8.

TFLite's own int8 kernels of these round differently from ONNX Runtime's; in float both compute
alike (and hard-swish runs faster so).
"""

from __future__ import annotations

from collections.abc import Callable

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.layout import broadcastable
from exporter.tflite.registry import lowers

_CODES = {"Abs": "ABS", "Exp": "EXP", "HardSwish": "HARD_SWISH", "Neg": "NEG", "Sqrt": "SQRT"}


@lowers("Abs", "Exp", "HardSwish", "Neg", "Sqrt")
def function(lowering: Lowering, operator: Operator) -> None:
    """Lower a function that has a float operator of its own."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    real = lowering.real(source, result)
    code = _CODES[operator.kind]
    lowering.real_result(result, lambda out: lowering.writer.operator(code, [real], [out]))


@lowers("LeakyRelu")
def leaky_relu(lowering: Lowering, operator: Operator) -> None:
    """Lower max(x, alpha * x)."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    real = lowering.real(source, result)
    alpha = float(operator.attributes.get("alpha", 0.01))
    lowering.real_result(
        result, lambda out: lowering.writer.operator("LEAKY_RELU", [real], [out], alpha=alpha)
    )


@lowers("PRelu")
def prelu(lowering: Lowering, operator: Operator) -> None:
    """Lower a leaky ReLU with a slope for each channel."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    slopes = lowering.constant_of(operator, 1, "slope")
    shape = (1,) * (len(source.shape) - 1 - slopes.ndim) + slopes.shape
    flat = broadcastable(slopes.reshape(shape), image=lowering.is_image(result))
    alpha = lowering.number(f"{operator.name}_slopes", flat.reshape(flat.shape[-3:]))
    real = lowering.real(source, result)
    lowering.real_result(
        result, lambda out: lowering.writer.operator("PRELU", [real, alpha], [out])
    )


@lowers("HardSigmoid")
def hard_sigmoid(lowering: Lowering, operator: Operator) -> None:
    """Lower min(max(alpha * x + beta, 0), 1)."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    shape, writer, name = lowering.shape(result), lowering.writer, operator.name
    alpha = lowering.number(f"{name}_alpha", operator.attributes.get("alpha", 0.2))
    beta = lowering.number(f"{name}_beta", operator.attributes.get("beta", 0.5))
    one, zero = lowering.number(f"{name}_one", 1.0), lowering.number(f"{name}_zero", 0.0)
    scaled = lowering.temporary(f"{name}_scaled", shape)
    shifted = lowering.temporary(f"{name}_shifted", shape)
    capped = lowering.temporary(f"{name}_capped", shape)
    writer.operator("MUL", [lowering.real(source, result), alpha], [scaled])
    writer.operator("ADD", [scaled, beta], [shifted])
    writer.operator("MINIMUM", [shifted, one], [capped])
    lowering.real_result(result, lambda out: writer.operator("MAXIMUM", [capped, zero], [out]))


@lowers("Reciprocal")
def reciprocal(lowering: Lowering, operator: Operator) -> None:
    """Lower 1 / x."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    _divide_one(lowering, operator, lowering.real(source, result))


def _divide_one(lowering: Lowering, operator: Operator, real: int) -> None:
    one, result = lowering.number(f"{operator.name}_one", 1.0), lowering.result(operator)
    lowering.real_result(result, lambda out: lowering.writer.operator("DIV", [one, real], [out]))


@lowers("Pow")
def power(lowering: Lowering, operator: Operator) -> None:
    """Lower x ** 2, x ** 0.5 and x ** -0.5."""
    exponent = float(lowering.constant_of(operator, 1, "exponent").reshape(()))
    source, result = lowering.source(operator, 0), lowering.result(operator)
    real = lowering.real(source, result)
    if exponent == -0.5:  # XNNPACK's RSQRT of zero is not a number, ONNX Runtime's power infinite
        root = lowering.temporary(f"{operator.name}_root", lowering.shape(result))
        lowering.writer.operator("SQRT", [real], [root])
        _divide_one(lowering, operator, root)
        return
    emit: dict[float, Callable[[int], None]] = {
        2.0: lambda out: lowering.writer.operator("MUL", [real, real], [out]),
        0.5: lambda out: lowering.writer.operator("SQRT", [real], [out]),
    }
    if exponent not in emit:
        raise lowering.refuse(operator, f"its exponent is {exponent}", "use 2, 0.5 or -0.5")
    lowering.real_result(result, emit[exponent])
