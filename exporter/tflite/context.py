"""What a lowering function works with."""

from __future__ import annotations

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph.model import Array, Graph, Operator, Tensor
from exporter.tflite.layout import axis_of, shape_of
from exporter.tflite.writer import Writer


class Lowering:
    """What a lowering function works with: the graph, the writer, and tensors by name."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.writer = Writer("edgewright")
        self._index: dict[str, int] = {}

    def source(self, operator: Operator, index: int) -> Tensor:
        """The graph's tensor behind an operator's input."""
        return self.graph.tensors[operator.inputs[index]]

    def result(self, operator: Operator) -> Tensor:
        """The graph's tensor behind an operator's only output."""
        return self.graph.tensors[operator.outputs[0]]

    def index(self, tensor: Tensor) -> int:
        """The TFLite index of an activation or graph input; made when first asked for."""
        if tensor.name not in self._index:
            self._index[tensor.name] = self.like(tensor, tensor.name, tensor.shape)
        return self._index[tensor.name]

    def like(self, tensor: Tensor, name: str, shape: tuple[int, ...]) -> int:
        """A new activation with the type and scale of `tensor`; `shape` in ONNX order."""
        quantization = tensor.quantization
        return self.writer.tensor(
            name,
            shape_of(shape),
            tensor.dtype,
            scale=None if quantization is None else quantization.scale,
            zero_point=0 if quantization is None else quantization.zero_point,
        )

    def constant(self, tensor: Tensor, data: Array, axis: int = 0) -> int:
        """A constant with the scale of `tensor` and `data` already in TFLite's order."""
        quantization = tensor.quantization
        return self.writer.tensor(
            tensor.name,
            data.shape,
            data.dtype,
            scale=None if quantization is None else quantization.scale,
            zero_point=0 if quantization is None else quantization.zero_point,
            axis=axis,
            data=data,
        )

    def integers(self, name: str, values: object) -> int:
        """A constant int32 tensor: shapes, axes, paddings."""
        data = np.asarray(values, np.int32)
        return self.writer.tensor(name, data.shape, data.dtype, data=data)

    def axis(self, operator: Operator, axis: int) -> int:
        """An axis of the operator's first input, in TFLite's order."""
        return axis_of(axis, len(self.source(operator, 0).shape))

    def refuse(self, operator: Operator, reason: str, remedy: str) -> UnsupportedError:
        """The error to raise for an operator that has no TFLite form."""
        return UnsupportedError(operator.name, operator.kind, reason, remedy)
