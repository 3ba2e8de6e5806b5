"""A graph as the lowerings see it: tensors with their quantization, and operators between them.

Read from ONNX, canonical QDQ or float. QuantizeLinear and DequantizeLinear are gone: they became
the `quantization` of tensors, save where integers truly change (a `Quantize` or `Dequantize`
operator). An activation right behind an operator, before its QuantizeLinear, is that operator's
`activation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Quantization:
    """real = scale * (integer - zero_point).

    Attributes:
        scale: float32, [] for a tensor or [channels].
        zero_point: the integer of zero; one for all channels.
        axis: the channels' axis in ONNX order; None for a tensor.
    """

    scale: Array
    zero_point: int
    axis: int | None = None

    def same_as(self, other: Quantization | None) -> bool:
        """Whether both give every integer the same real value."""
        return (
            other is not None
            and self.zero_point == other.zero_point
            and np.array_equal(self.scale, other.scale)
        )


@dataclass
class Tensor:
    """A value of the graph.

    Attributes:
        name: unique in the graph.
        shape: in ONNX order (NCHW for images), with 1 for the batch.
        dtype: uint8, int8, int16, int32, int64 or float32.
        quantization: None for real numbers and plain integers.
        data: the array, in ONNX order, when it is constant.
        layout: "NHWC" for a graph input that is given so; its `shape` is in NCHW order all the
            same. "plain" for a graph input of rank 4 that is no image.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    data: Array | None = None
    layout: str = ""


@dataclass
class Operator:
    """One operator. `inputs` may hold "" for an optional input that is not given."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    activation: str = ""


@dataclass
class Graph:
    """Tensors by name, operators in topological order.

    `float_layers` are the names of the weights that stay float on request, in a quantized graph.
    `open_batch` says that the batch is a symbol in the model, and the first axis of every
    activation: shapes here have 1 for it all the same.
    """

    name: str
    tensors: dict[str, Tensor]
    operators: list[Operator]
    inputs: list[str]
    outputs: list[str]
    float_layers: frozenset[str] = frozenset()
    open_batch: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether it has int16 values."""
        return any(tensor.dtype == np.int16 for tensor in self.tensors.values())

    def in_int16(self, operator: Operator) -> bool:
        """Whether an operator reads or gives int16 values."""
        names = [name for name in (*operator.inputs, *operator.outputs) if name]
        return any(self.tensors[name].dtype == np.int16 for name in names)

    def constants(self) -> list[Tensor]:
        """The tensors that are constant, in order of creation."""
        return [tensor for tensor in self.tensors.values() if tensor.data is not None]

    def producer(self, name: str) -> Operator | None:
        """The operator that gives a tensor; None for inputs and constants."""
        for operator in self.operators:
            if name in operator.outputs:
                return operator
        return None


def bias_scale(data: Quantization, weight: Quantization) -> Array:
    """Input scale * weight scale, rounded once to float32."""
    return (data.scale.astype(np.float64) * weight.scale.astype(np.float64)).astype(np.float32)
