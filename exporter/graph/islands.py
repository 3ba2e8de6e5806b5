"""Operators of a canonical graph that both runtimes compute in float, on purpose.

Between DEQUANTIZE and QUANTIZE they give the same integers in both, where TFLite's own integer
kernels round otherwise or do not exist. Nothing else may be float but the layers that the user
names (`float_layers` in the recipe), whose sums the two runtimes round apart in the last bits.
"""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Graph, Operator, Tensor

ISLANDS = {
    "Abs",
    "AveragePool",
    "Cast",
    "Div",
    "Exp",
    "HardSigmoid",
    "HardSwish",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Sqrt",
}
"""Float whatever their operands. Additions with a number, linear resizing and changes of scale are
so as well."""

WIDE_ISLANDS = {
    "ArgMax",
    "ArgMin",
    "DepthToSpace",
    "Elu",
    "Gelu",
    "Mish",
    "Softmax",
    "SpaceToDepth",
}
"""Float where their operand is int16: LiteRT has no int16 kernel for them, but for a softmax that
errs by up to two steps for each class."""

_ARITHMETIC = {"Add", "Mul", "Sub"}


def islands(graph: Graph) -> list[Operator]:
    """The operators that are computed in float, in order."""
    return [operator for operator in graph.operators if _is_island(graph, operator)]


def float_layers(graph: Graph) -> list[Operator]:
    """The convolutions and dense layers that are float because the user asked for it, in order."""
    return [operator for operator in graph.operators if is_float_layer(graph, operator)]


def is_float_layer(graph: Graph, operator: Operator) -> bool:
    """Whether it reads one of the weights that stay float on request."""
    return operator.kind in ("Conv", "Gemm") and operator.inputs[1] in graph.float_layers


def _is_island(graph: Graph, operator: Operator) -> bool:
    tensors = [graph.tensors[name] for name in operator.inputs if name]
    values = [tensor for tensor in tensors if tensor.data is None]
    if not values or any(value.quantization is None for value in values):
        return False
    if operator.kind in WIDE_ISLANDS:
        return values[0].dtype == np.int16
    if operator.kind in _ARITHMETIC:
        return any(tensor.quantization is None for tensor in tensors)
    if operator.kind == "Resize":
        return bool(operator.attributes.get("mode", "nearest") == "linear")
    if operator.kind == "Quantize":
        result = graph.tensors[operator.outputs[0]]
        return result.dtype == np.int16 or _changes_scale(values[0], result)
    return operator.kind in ISLANDS


def _changes_scale(source: Tensor, result: Tensor) -> bool:
    one, other = source.quantization, result.quantization
    return one is not None and other is not None and not np.array_equal(one.scale, other.scale)
