"""What a lowering function works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph.layout import image_tensors
from exporter.graph.model import Array, Graph, Operator, Tensor
from exporter.tflite.layout import axis_of, broadcastable, shape_of
from exporter.tflite.writer import Writer

FLOAT = np.dtype(np.float32)
OF_FIXED_BATCH = {"ConvTranspose", "MatMul"}
"""TRANSPOSE_CONV has the batch among the sizes of its result; BATCH_MATMUL under XNNPACK (LiteRT
2.3) gives other numbers for a batch than for its samples."""


class Lowering:
    """The graph, the writer, and the TFLite tensors of the graph's tensors.

    Attributes:
        graph: what is lowered.
        writer: where it goes.
        images: names of the tensors that TFLite stores as NHWC.
        readers: tensor name → the operators that read it.
        done: names of operators that another's lowering has taken care of.
        open_batch: whether the file takes any batch; sizes in it then leave the first axis open.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.writer = Writer("edgewright")
        self.images = image_tensors(graph)
        self.readers: dict[str, list[Operator]] = {}
        self.producers: dict[str, Operator] = {}
        self.done: set[str] = set()
        fixed = any(operator.kind in OF_FIXED_BATCH for operator in graph.operators)
        self.open_batch = graph.open_batch and not fixed
        for operator in graph.operators:
            for name in operator.inputs:
                self.readers.setdefault(name, []).append(operator)
            for name in operator.outputs:
                self.producers[name] = operator
        self._index: dict[str, int] = {}
        self._real: dict[str, int] = {}

    def source(self, operator: Operator, index: int) -> Tensor:
        """The graph's tensor behind an operator's input."""
        return self.graph.tensors[operator.inputs[index]]

    def result(self, operator: Operator, index: int = 0) -> Tensor:
        """The graph's tensor behind an operator's output."""
        return self.graph.tensors[operator.outputs[index]]

    def constant_of(self, operator: Operator, index: int, what: str) -> Array:
        """The array behind an input that has to be constant.

        Raises:
            UnsupportedError: it is missing or computed; `what` says what it is.
        """
        name = operator.inputs[index] if index < len(operator.inputs) else ""
        data = self.graph.tensors[name].data if name else None
        if data is None:
            raise self.refuse(operator, f"its {what} is computed", f"give it a constant {what}")
        return data

    def is_image(self, tensor: Tensor) -> bool:
        """Whether TFLite stores it as NHWC."""
        return tensor.name in self.images

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape in TFLite's order."""
        return shape_of(tensor.shape, image=self.is_image(tensor))

    def index(self, tensor: Tensor) -> int:
        """The TFLite index of an activation or graph input; made when first asked for."""
        if tensor.name not in self._index:
            self._index[tensor.name] = self.like(tensor, tensor.name, self.shape(tensor))
        return self._index[tensor.name]

    def alias(self, tensor: Tensor, index: int) -> None:
        """Let a tensor be one that is there already."""
        self._index[tensor.name] = index

    def like(self, tensor: Tensor, name: str, shape: Sequence[int]) -> int:
        """A new activation with the type and scale of `tensor`; `shape` in TFLite's order."""
        quantization = tensor.quantization
        return self.writer.tensor(
            name,
            shape,
            tensor.dtype,
            scale=None if quantization is None else quantization.scale,
            zero_point=0 if quantization is None else quantization.zero_point,
        )

    def operand(self, tensor: Tensor, result: Tensor) -> int:
        """An operand that broadcasts against `result`: computed, or constant."""
        if tensor.data is None:
            return self.index(tensor)
        return self.constant(tensor, broadcastable(tensor.data, image=self.is_image(result)))

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

    def sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape as an operator's parameter: -1 for its first axis where the batch is open."""
        return (-1, *shape[1:]) if self.open_batch and shape else tuple(shape)

    def integers(self, name: str, values: object) -> int:
        """A constant int32 tensor: shapes, axes, paddings."""
        data = np.asarray(values, np.int32)
        return self.writer.tensor(name, data.shape, data.dtype, data=data)

    def number(self, name: str, value: object) -> int:
        """A constant float32 tensor."""
        data = np.asarray(value, np.float32)
        return self.writer.tensor(name, data.shape, data.dtype, data=data)

    def axis(self, tensor: Tensor, axis: int) -> int:
        """An axis of a tensor in TFLite's order."""
        return axis_of(axis, len(tensor.shape), image=self.is_image(tensor))

    def real(self, tensor: Tensor, result: Tensor) -> int:
        """A tensor as float32, dequantized once for all; a constant broadcasts to `result`."""
        if tensor.data is not None:
            data = tensor.data
            if tensor.quantization is not None:
                zero_point = tensor.quantization.zero_point
                data = (data.astype(np.float32) - zero_point) * tensor.quantization.scale
            flat = broadcastable(data.astype(np.float32), image=self.is_image(result))
            return self.number(f"{tensor.name}_for_{result.name}", flat)
        if tensor.dtype == FLOAT:
            return self.index(tensor)
        if tensor.name not in self._real:
            real = self.writer.tensor(f"{tensor.name}_real", self.shape(tensor), FLOAT)
            self.writer.operator("DEQUANTIZE", [self.index(tensor)], [real], version=2)
            self._real[tensor.name] = real
        return self._real[tensor.name]

    def real_result(self, tensor: Tensor, emit: Callable[[int], None]) -> None:
        """Let `emit` write a tensor as float32; it is quantized afterwards where it should be."""
        if tensor.quantization is None:
            emit(self.index(tensor))
            return
        real = self.temporary(f"{tensor.name}_in_float", self.shape(tensor))
        emit(real)
        self.writer.operator("QUANTIZE", [real], [self.index(tensor)])

    def temporary(self, name: str, shape: Sequence[int]) -> int:
        """A float32 tensor between two operators; `shape` in TFLite's order."""
        return self.writer.tensor(name, shape, FLOAT)

    def refuse(self, operator: Operator, reason: str, remedy: str) -> UnsupportedError:
        """The error to raise for an operator that has no TFLite form."""
        return UnsupportedError(operator.name, operator.kind, reason, remedy)
