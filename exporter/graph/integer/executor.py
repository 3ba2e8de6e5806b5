"""Runs a graph operator by operator; which function runs which kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph.model import Array, Graph, Operator, Quantization, Tensor


@dataclass(frozen=True)
class Operands:
    """What a function computes with.

    Attributes:
        operator: the operator.
        inputs: its tensors; None for one that is not given.
        arrays: their values, batch first; None likewise.
        result: its first output.
    """

    operator: Operator
    inputs: Sequence[Tensor | None]
    arrays: Sequence[Array | None]
    result: Tensor

    def array(self, index: int) -> Array:
        """A value that must be there.

        Raises:
            UnsupportedError: it is not given.
        """
        value = self.arrays[index] if index < len(self.arrays) else None
        if value is None:
            raise UnsupportedError(
                self.operator.name,
                self.operator.kind,
                f"input {index} is missing",
                "export the model again",
            )
        return value

    def real(self, index: int) -> Array:
        """A value as real numbers, float64."""
        tensor, value = self.inputs[index], self.array(index)
        quantization = None if tensor is None else tensor.quantization
        return value.astype(np.float64) if quantization is None else _real(value, quantization)

    def attribute(self, name: str, default: object) -> object:
        """An attribute of the operator, or ONNX's default."""
        return self.operator.attributes.get(name, default)

    def numbers(self, name: str, default: Sequence[int]) -> list[int]:
        """A list attribute."""
        value: list[int] = self.operator.attributes.get(name, list(default))
        return value

    def constant(self, index: int, attribute: str, default: list[int] | None) -> list[int]:
        """Integers that ONNX has in an input or, in older operator sets, in an attribute."""
        if index < len(self.arrays) and self.arrays[index] is not None:
            flat: list[int] = self.array(index).reshape(-1).tolist()
            return flat
        value: list[int] | None = self.operator.attributes.get(attribute, default)
        if value is None:
            raise UnsupportedError(
                self.operator.name, self.operator.kind, f"it lacks {attribute}", "export it again"
            )
        return value

    def quantized(self, real: Array) -> Array:
        """Real numbers as the result's integers; as they are where it has no scale."""
        quantization = self.result.quantization
        if quantization is None:
            return real.astype(self.result.dtype)
        return saturate(np.rint(real / np.float64(quantization.scale)), self.result)


Found = Array | tuple[Array, ...]
Function = Callable[[Operands], Found]
_FUNCTIONS: dict[str, Function] = {}


def executes(*names: str) -> Callable[[Function], Function]:
    """Register a function for operators of these kinds; return it unchanged.

    Raises:
        ValueError: a kind that has a function already.
    """

    def register(function: Function) -> Function:
        for kind in names:
            if kind in _FUNCTIONS:
                raise ValueError(f"{kind} is executed by {_FUNCTIONS[kind].__module__} already")
            _FUNCTIONS[kind] = function
        return function

    return register


def kinds() -> tuple[str, ...]:
    """Every kind that can be executed, sorted."""
    return tuple(sorted(_FUNCTIONS))


def saturate(steps: Array, result: Tensor) -> Array:
    """Steps from the zero point as integers of the result's type."""
    zero_point = 0 if result.quantization is None else result.quantization.zero_point
    limits = np.iinfo(result.dtype)
    integers: Array = np.clip(steps + zero_point, limits.min, limits.max).astype(result.dtype)
    return integers


def _real(value: Array, quantization: Quantization) -> Array:
    scale = quantization.scale.astype(np.float64)
    if scale.ndim:
        shape = [1] * value.ndim
        shape[quantization.axis or 0] = -1
        scale = scale.reshape(shape)
    real: Array = (value.astype(np.float64) - quantization.zero_point) * scale
    return real


def run(graph: Graph, inputs: Sequence[Array]) -> dict[str, Array]:
    """Every tensor of a graph for a batch of inputs.

    Args:
        graph: canonical.
        inputs: one array for each graph input, [N, ...], as the shipped file takes it: NHWC where
            the input's layout says so.

    Returns:
        Arrays by tensor name, in ONNX order.

    Raises:
        UnsupportedError: an operator that the reference does not know.
    """
    values: dict[str, Array] = {}
    for name, array in zip(graph.inputs, inputs, strict=True):
        nhwc = graph.tensors[name].layout == "NHWC"
        values[name] = np.moveaxis(array, -1, 1) if nhwc else array
    for tensor in graph.constants():
        values[tensor.name] = np.asarray(tensor.data)
    for operator in graph.operators:
        _execute(graph, operator, values)
    return values


def _execute(graph: Graph, operator: Operator, values: dict[str, Array]) -> None:
    function = _FUNCTIONS.get(operator.kind)
    if function is None:
        raise UnsupportedError(
            operator.name,
            operator.kind,
            "the integer reference does not know it",
            f"use operators among: {', '.join(kinds())}",
        )
    first = next(name for name in operator.outputs if name)
    tensors = [graph.tensors[name] if name else None for name in operator.inputs]
    arrays = [values[name] if name else None for name in operator.inputs]
    found = function(Operands(operator, tensors, arrays, graph.tensors[first]))
    parts = found if isinstance(found, tuple) else (found,)
    named = operator.outputs if isinstance(found, tuple) else [first]
    for name, part in zip(named, parts, strict=True):
        if name:
            values[name] = part
