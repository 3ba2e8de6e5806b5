"""Read an ONNX model into a `Graph`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.errors import CanonicalError, ModelError
from exporter.graph.model import Array, Graph, Operator, Quantization, Tensor
from exporter.graph.onnx_edit import (
    constant,
    implied_by_quantization,
    is_relu_by_quantization,
    required_constant,
)
from exporter.graph.qdq import common_quantization
from exporter.graph.shapes import size_for_one

FLOAT_LAYERS = "edgewright.float_layers"
"""The model's property that names the weights which stay float on request, as JSON."""

FUSABLE = {"Add", "Conv", "Gemm", "Mul", "Sub"}
ACTIVATIONS = {"Relu", "Clip"}


def read_file(path: Path) -> Graph:
    """Read an ONNX file.

    Raises:
        ModelError: the file is missing or no ONNX model.
        CanonicalError: its quantization operators do not have the canonical form.
    """
    return read(load(path))


def load(path: Path) -> ir.Model:
    """Load an ONNX file whose tensors are inside it.

    Raises:
        ModelError: the file is missing, or no ONNX model.
    """
    import google.protobuf.message
    import onnx

    try:
        proto = onnx.load_model(path, load_external_data=False)
        return ir.from_proto(proto)
    except (OSError, google.protobuf.message.DecodeError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be read as ONNX", expected="an ONNX model", found=str(error)[:200]
        ) from None


def read(model: ir.Model) -> Graph:
    """Read an ONNX model.

    Raises:
        CanonicalError: its quantization operators do not have the canonical form.
    """
    return _Reader(model).read()


class _Reader:
    """Walks the nodes once. `alias` says which tensor stands behind an ONNX value."""

    def __init__(self, model: ir.Model) -> None:
        self.onnx = model.graph
        kept = json.loads(model.metadata_props.get(FLOAT_LAYERS, "[]"))
        self.graph = Graph(model.graph.name or "main", {}, [], [], [], frozenset(kept))
        self.alias: dict[ir.Value, Tensor] = {}
        self.pending: dict[ir.Value, Operator] = {}

    def read(self) -> Graph:
        for value in self.onnx.inputs:
            self.graph.inputs.append(self._input(value).name)
        for node in self.onnx:
            self._node(node)
        for value in self.onnx.outputs:
            self._rename(self.alias[value], str(value.name))
        self.graph.outputs = [self.alias[value].name for value in self.onnx.outputs]
        self.graph.open_batch = self._has_open_batch()
        return self.graph

    def _has_open_batch(self) -> bool:
        """Whether one symbol is the first size of every computed value, and stands nowhere else."""
        values = [*self.onnx.inputs, *(v for node in self.onnx for v in node.outputs)]
        symbols = set()
        for value in values:
            if _is_weight(value):
                continue
            shape = value.shape
            if shape is None or not len(shape) or isinstance(shape[0], int):
                return False
            if any(not isinstance(size, int) for size in shape[1:]):
                return False
            symbols.add(str(shape[0].value))
        return len(symbols) == 1 and symbols.pop().isidentifier()

    def _node(self, node: ir.Node) -> None:
        if node.op_type == "DequantizeLinear":
            self._dequantize(node)
        elif node.op_type == "QuantizeLinear":
            self._quantize(node)
        elif node.op_type in ACTIVATIONS and self._fuse(node):
            pass
        elif node.op_type == "Transpose" and self._enters_as_nhwc(node):
            self.alias[node.outputs[0]] = self.alias[node.inputs[0]]
        else:
            self._operator(node)

    def _input(self, value: ir.Value) -> Tensor:
        shape = _shape(value)
        layout = ""
        readers = [node for node, _ in value.uses()]
        if readers and all(_is_nhwc_to_nchw(node) for node in readers):
            layout = "NHWC"
            shape = (shape[0], shape[3], shape[1], shape[2])
        tensor = Tensor(str(value.name), shape, _dtype(value), layout=layout)
        return self._add(value, tensor)

    def _enters_as_nhwc(self, node: ir.Node) -> bool:
        source = self.alias.get(node.inputs[0])
        return source is not None and source.layout == "NHWC"

    def _add(self, value: ir.Value, tensor: Tensor) -> Tensor:
        if tensor.name in self.graph.tensors:
            raise CanonicalError(f"the name '{tensor.name}' stands for two values")
        self.graph.tensors[tensor.name] = tensor
        self.alias[value] = tensor
        return tensor

    def _rename(self, tensor: Tensor, name: str) -> None:
        """Give a tensor the name of the graph output that it is."""
        if tensor.name == name or tensor.name in self.graph.inputs or tensor.data is not None:
            return
        self.graph.tensors = {
            (name if key == tensor.name else key): entry
            for key, entry in self.graph.tensors.items()
        }
        for operator in self.graph.operators:
            operator.inputs = [name if key == tensor.name else key for key in operator.inputs]
            operator.outputs = [name if key == tensor.name else key for key in operator.outputs]
        tensor.name = name

    def _tensor(self, value: ir.Value) -> Tensor:
        """The tensor behind a value; a float or integer constant becomes one when first read."""
        if value in self.alias:
            return self.alias[value]
        data = constant(value)
        if data is None:
            raise CanonicalError(f"value '{value.name}' is read before it is computed")
        return self._add(value, Tensor(str(value.name), data.shape, data.dtype, data=data))

    def _dequantize(self, node: ir.Node) -> None:
        source, output = node.inputs[0], node.outputs[0]
        quantization = _quantization(node)
        data = constant(source)
        if data is not None:
            name = str(source.name)
            if name in self.graph.tensors:
                name = str(output.name)
            self._add(output, Tensor(name, data.shape, data.dtype, quantization, data))
            return
        tensor = self.alias[source]
        if tensor.quantization is None and tensor.name in self.graph.inputs:
            tensor.quantization = quantization
        if not quantization.same_as(tensor.quantization):
            raise CanonicalError(
                f"'{node.name}' reads '{tensor.name}' with another scale than it was written with"
            )
        self.alias[output] = tensor
        if output in self.onnx.outputs:
            self._boundary("Dequantize", node, tensor, np.dtype(np.float32), None)

    def _quantize(self, node: ir.Node) -> None:
        source, output = node.inputs[0], node.outputs[0]
        quantization = _quantization(node)
        dtype = required_constant(node, 2).dtype
        tensor = self._tensor(source)
        if source in self.pending and common_quantization(source) is not None:
            tensor.quantization, tensor.dtype = quantization, dtype
            del self.pending[source]
            self.alias[output] = tensor
        elif quantization.same_as(tensor.quantization) and tensor.dtype == dtype:
            self.alias[output] = tensor
        else:
            self._boundary("Quantize", node, tensor, dtype, quantization)

    def _boundary(
        self,
        kind: str,
        node: ir.Node,
        source: Tensor,
        dtype: np.dtype[Any],
        quantization: Quantization | None,
    ) -> None:
        output = node.outputs[0]
        target = Tensor(str(output.name), source.shape, dtype, quantization)
        self._add(output, target)
        name = str(node.name)
        self.graph.operators.append(Operator(kind, name, [source.name], [target.name]))

    def _fuse(self, node: ir.Node) -> bool:
        source = node.inputs[0]
        operator = self.pending.get(source)
        alone = len(source.uses()) == 1
        if operator is None or operator.kind not in FUSABLE or operator.activation or not alone:
            return False
        activation = _activation(node)
        if activation is None:
            if not (implied_by_quantization(node) or is_relu_by_quantization(node)):
                return False
            activation = "Relu" if node.op_type == "Clip" else ""
        operator.activation = activation
        output = node.outputs[0]
        self.alias[output] = self.alias[source]
        self.pending[output] = self.pending.pop(source)
        return True

    def _operator(self, node: ir.Node) -> None:
        inputs = [self._tensor(value).name if value is not None else "" for value in node.inputs]
        attributes = {name: _attribute(node, name) for name in node.attributes}
        operator = Operator(node.op_type, str(node.name), inputs, [], attributes)
        if node.op_type == "Clip":
            operator.kind = _activation(node) or "Clip"
            operator.inputs = operator.inputs[:1] if operator.kind != "Clip" else operator.inputs
        for value in node.outputs:
            if not value.uses() and not value.is_graph_output() and len(node.outputs) > 1:
                operator.outputs.append("")
                continue
            tensor = Tensor(str(value.name), _shape(value), _dtype(value))
            operator.outputs.append(self._add(value, tensor).name)
            self.pending[value] = operator
        self.graph.operators.append(operator)


def _is_weight(value: ir.Value) -> bool:
    """Whether it is a constant, or a constant's real numbers."""
    producer = value.producer()
    dequantized = producer is not None and producer.op_type == "DequantizeLinear"
    return (
        constant(producer.inputs[0] if dequantized and producer is not None else value) is not None
    )


def _quantization(node: ir.Node) -> Quantization:
    scale = required_constant(node, 1).astype(np.float32)
    points = required_constant(node, 2)
    if points.size and not (points == points.flat[0]).all():
        raise CanonicalError(
            f"'{node.name}' has a zero point of its own for each channel",
            expected="one zero point, 0 for weights",
            remedy="quantize weights symmetrically",
        )
    zero_point = int(points.flat[0])
    if scale.size == 1:
        return Quantization(scale.reshape(()), zero_point)
    axis = _attribute(node, "axis") if "axis" in node.attributes else 1
    return Quantization(scale, zero_point, int(axis))


def _activation(node: ir.Node) -> str | None:
    """The name of an activation that int8 kernels fuse; None when they have none like it."""
    if node.op_type == "Relu":
        return "Relu"
    limits = [constant(value) if value is not None else None for value in node.inputs[1:3]]
    if all(limit is not None and limit.size == 1 for limit in limits) and len(limits) == 2:
        low, high = (float(limit) for limit in limits if limit is not None)
        if (low, high) == (0.0, 6.0):
            return "Relu6"
    return None


def _attribute(node: ir.Node, name: str) -> Any:
    value = node.attributes[name].value
    return list(value) if isinstance(value, (list, tuple)) else value


def _is_nhwc_to_nchw(node: ir.Node) -> bool:
    return bool(node.op_type == "Transpose" and _attribute(node, "perm") == [0, 3, 1, 2])


def _shape(value: ir.Value) -> tuple[int, ...]:
    if value.shape is None:
        raise CanonicalError(
            f"the shape of '{value.name}' is not known",
            remedy="run shape inference, and give the model static shapes except for the batch",
        )
    return tuple(_size(value, axis, size) for axis, size in enumerate(value.shape))


def _size(value: ir.Value, axis: int, size: int | ir.SymbolicDim) -> int:
    """A size; the batch is one."""
    if isinstance(size, int):
        return size
    evaluated = size_for_one(str(size.value))
    if evaluated is None:
        raise CanonicalError(
            f"axis {axis} of '{value.name}' has no fixed size",
            expected="static shapes except for the batch",
            found=str(size),
        )
    return evaluated


def _dtype(value: ir.Value) -> np.dtype[Any]:
    if value.dtype is None:
        return np.dtype(np.float32)
    dtype: np.dtype[Any] = np.dtype(value.dtype.numpy())
    return dtype


__all__ = ["Array", "load", "read", "read_file"]
