"""Functions that TFLite lacks, made of its float operators."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering

# ONNX's defaults, from Klambauer et al., arXiv:1706.02515.
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
LARGEST_EXPONENT = 20.0
"""From here on tanh(softplus(x)) is 1 in float32; exp(x) squared stays far from its end."""
SMALLEST = 1e-30
"""Added to a divisor that may be zero: no other float32 changes by it."""


@dataclass
class Steps:
    """Writes the float operators of one function, a result each."""

    lowering: Lowering
    operator: Operator
    names: list[str] = field(default_factory=list)

    def number(self, value: float) -> int:
        """A constant."""
        return self.lowering.number(self._name(), value)

    def emit(self, code: str, *inputs: int) -> int:
        """An operator's result."""
        shape = self.lowering.shape(self.lowering.result(self.operator))
        target = self.lowering.temporary(self._name(), shape)
        options = {"approximate": False} if code == "GELU" else {}
        self.lowering.writer.operator(code, list(inputs), [target], **options)
        return target

    def alpha(self, missing: float) -> float:
        """The operator's alpha."""
        return float(self.operator.attributes.get("alpha", missing))

    def _name(self) -> str:
        self.names.append(f"{self.operator.name}_step_{len(self.names)}")
        return self.names[-1]


def function_in_float(lowering: Lowering, operator: Operator) -> None:
    """Lower a function to several float operators."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    code, *inputs = _FUNCTIONS[operator.kind](
        Steps(lowering, operator), lowering.real(source, result)
    )
    lowering.real_result(result, lambda out: lowering.writer.operator(code, inputs, [out]))


Last = tuple[str, int, int]
"""A function's last operator: its code and operands."""


def _mish(steps: Steps, x: int) -> Last:
    """X * tanh(log(1 + exp(x))) = x * n / (n + 2) with e = exp(x), n = e * (e + 2).

    Misra, arXiv:1908.08681, for the function.
    """
    two = steps.number(2.0)
    power = steps.emit("EXP", steps.emit("MINIMUM", x, steps.number(LARGEST_EXPONENT)))
    product = steps.emit("MUL", power, steps.emit("ADD", power, two))
    return "MUL", x, steps.emit("DIV", product, steps.emit("ADD", product, two))


def _softplus(steps: Steps, x: int) -> Last:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), whose power has no overflow."""
    power = steps.emit("EXP", steps.emit("NEG", steps.emit("ABS", x)))
    plus_one = steps.emit("ADD", power, steps.number(1.0))
    return "ADD", steps.emit("RELU", x), steps.emit("LOG", plus_one)


def _softsign(steps: Steps, x: int) -> Last:
    """X / (1 + |x|)."""
    return "DIV", x, steps.emit("ADD", steps.emit("ABS", x), steps.number(1.0))


def _celu(steps: Steps, x: int) -> Last:
    """max(x, 0) + alpha * elu(min(x, 0) / alpha). Barron, arXiv:1704.07483."""
    alpha = steps.number(steps.alpha(1.0))
    below = steps.emit("DIV", steps.emit("MINIMUM", x, steps.number(0.0)), alpha)
    return "ADD", steps.emit("RELU", x), steps.emit("MUL", steps.emit("ELU", below), alpha)


def _selu(steps: Steps, x: int) -> Last:
    """Gamma * (max(x, 0) + alpha * elu(min(x, 0)))."""
    below = steps.emit("ELU", steps.emit("MINIMUM", x, steps.number(0.0)))
    scaled = steps.emit("MUL", below, steps.number(steps.alpha(SELU_ALPHA)))
    gamma = steps.number(float(steps.operator.attributes.get("gamma", SELU_GAMMA)))
    return "MUL", steps.emit("ADD", steps.emit("RELU", x), scaled), gamma


def _erf(steps: Steps, x: int) -> Last:
    """(2 * gelu(z) - z) / z with z = sqrt(2) * x, as gelu(z) = z * (1 + erf(z / sqrt(2))) / 2."""
    z = steps.emit("MUL", x, steps.number(math.sqrt(2.0)))
    twice = steps.emit("MUL", steps.emit("GELU", z), steps.number(2.0))
    divisor = steps.emit("ADD", z, steps.number(SMALLEST))
    return "DIV", steps.emit("SUB", twice, z), divisor


_FUNCTIONS: dict[str, Callable[[Steps, int], Last]] = {
    "Celu": _celu,
    "Erf": _erf,
    "Mish": _mish,
    "Selu": _selu,
    "Softplus": _softplus,
    "Softsign": _softsign,
}
