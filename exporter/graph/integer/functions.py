"""Functions and arithmetic of values, in real numbers, rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from exporter.graph.integer.executor import Operands, executes
from exporter.graph.model import Array

Real = Callable[[Array], Array]

# ONNX's defaults, from Klambauer et al., arXiv:1706.02515.
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _erf(x: Array) -> Array:
    values: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return values


def _gelu_tanh(x: Array) -> Array:
    values: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return values


def _sigmoid(x: Array) -> Array:
    values: Array = 1.0 / (1.0 + np.exp(-x))
    return values


def _reciprocal(x: Array) -> Array:
    with np.errstate(divide="ignore"):  # infinite at zero, as in the runtimes
        values: Array = 1.0 / x
    return values


_PLAIN: dict[str, Real] = {
    "Abs": np.abs,
    "Erf": _erf,
    "Exp": np.exp,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "Neg": np.negative,
    "Reciprocal": _reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Sigmoid": _sigmoid,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}


@executes(*_PLAIN)
def plain(operands: Operands) -> Array:
    """A function without parameters."""
    return operands.quantized(_PLAIN[operands.operator.kind](operands.real(0)))


@executes("Elu", "LeakyRelu")
def leaky(operands: Operands) -> Array:
    """A ReLU with something below zero."""
    x = operands.real(0)
    elu = operands.operator.kind == "Elu"
    alpha = operands.operator.attributes.get("alpha", 1.0 if elu else 0.01)
    below = np.expm1(np.minimum(x, 0)) if elu else x
    return operands.quantized(np.where(x < 0, alpha * below, x))


@executes("Celu", "Selu")
def scaled_elu(operands: Operands) -> Array:
    """A linear unit that turns exponential below zero, scaled within (Celu) or without (Selu)."""
    x, attributes = operands.real(0), operands.operator.attributes
    if operands.operator.kind == "Celu":
        alpha = attributes.get("alpha", 1.0)
        return operands.quantized(np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x))
    alpha, gamma = attributes.get("alpha", SELU_ALPHA), attributes.get("gamma", SELU_GAMMA)
    return operands.quantized(gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x))


@executes("PRelu")
def prelu(operands: Operands) -> Array:
    """A leaky ReLU with a slope for each channel."""
    x = operands.real(0)
    return operands.quantized(np.where(x < 0, operands.real(1) * x, x))


@executes("Gelu")
def gelu(operands: Operands) -> Array:
    """X * Phi(x), or its approximation with tanh."""
    x = operands.real(0)
    if operands.operator.attributes.get("approximate", "none") == "tanh":
        return operands.quantized(_gelu_tanh(x))
    return operands.quantized(0.5 * x * (1 + _erf(x / math.sqrt(2))))


@executes("HardSigmoid")
def hard_sigmoid(operands: Operands) -> Array:
    """min(max(alpha * x + beta, 0), 1)."""
    attributes = operands.operator.attributes
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return operands.quantized(np.clip(alpha * operands.real(0) + beta, 0, 1))


@executes("Softmax")
def softmax(operands: Operands) -> Array:
    """exp(x) / sum(exp(x)) over an axis."""
    x = operands.real(0)
    axis = int(operands.operator.attributes.get("axis", -1))
    powers = np.exp(x - x.max(axis, keepdims=True))
    return operands.quantized(powers / powers.sum(axis, keepdims=True))


@executes("LayerNormalization")
def layer_norm(operands: Operands) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis."""
    return _standardize(operands, (-1,), (-1,))


@executes("InstanceNormalization")
def instance_norm(operands: Operands) -> Array:
    """The same over all axes behind the channels', with a scale and shift for each channel."""
    rank = operands.array(0).ndim
    return _standardize(operands, tuple(range(2, rank)), (-1, *(1,) * (rank - 2)))


def _standardize(operands: Operands, axes: tuple[int, ...], constants: tuple[int, ...]) -> Array:
    x = operands.real(0)
    epsilon = operands.operator.attributes.get("epsilon", 1e-5)
    centred = x - x.mean(axes, keepdims=True)
    normal = centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)
    given = len(operands.arrays) > 2 and operands.arrays[2] is not None
    shift = operands.real(2).reshape(constants) if given else 0.0
    return operands.quantized(normal * operands.real(1).reshape(constants) + shift)


@executes("LRN")
def local_response(operands: Operands) -> Array:
    """X / (bias + alpha / size * sum of squares over `size` channels) ** beta."""
    x, attributes = operands.real(0), operands.operator.attributes
    size, channels = int(attributes["size"]), operands.array(0).shape[1]
    before = (size - 1) // 2
    margins = [(0, 0)] * x.ndim
    margins[1] = (before, size - 1 - before)
    squares = np.pad(np.square(x), margins)
    total = sum(squares[:, start : start + channels] for start in range(size))
    divisor = attributes.get("bias", 1.0) + attributes.get("alpha", 1e-4) / size * total
    return operands.quantized(x / divisor ** attributes.get("beta", 0.75))


@executes("Add", "Div", "Mul", "Pow", "Sub")
def arithmetic(operands: Operands) -> Array:
    """X + y, x / y, x * y, x ** y, x - y."""
    functions: dict[str, Callable[[Array, Array], Array]] = {
        "Add": np.add,
        "Div": np.divide,
        "Mul": np.multiply,
        "Pow": np.power,
        "Sub": np.subtract,
    }
    with np.errstate(divide="ignore"):
        real = functions[operands.operator.kind](operands.real(0), operands.real(1))
    if operands.operator.activation:
        real = np.maximum(real, 0)
    if operands.operator.activation == "Relu6":
        real = np.minimum(real, 6)
    return operands.quantized(real)


@executes("Max", "Min")
def select(operands: Operands) -> Array:
    """The larger or smaller of two."""
    function = np.maximum if operands.operator.kind == "Max" else np.minimum
    return operands.quantized(function(operands.real(0), operands.real(1)))


@executes("Clip")
def clip(operands: Operands) -> Array:
    """min(max(x, low), high)."""
    x = operands.real(0)
    for index, function in ((1, np.maximum), (2, np.minimum)):
        if index < len(operands.arrays) and operands.arrays[index] is not None:
            x = function(x, operands.real(index))
    return operands.quantized(x)


@executes("Quantize", "Dequantize")
def quantize(operands: Operands) -> Array:
    """Another scale, or none."""
    return operands.quantized(operands.real(0))


@executes("Cast")
def cast(operands: Operands) -> Array:
    """Another type; real numbers are cut off towards zero."""
    return operands.real(0).astype(operands.result.dtype)
