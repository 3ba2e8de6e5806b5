"""QuantizeLinear and DequantizeLinear nodes: their parameters, and how to make and find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.graph.onnx_edit import add_constant, constant

Array = np.ndarray
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MOVING = {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that give all values of their input and no others."""
ACTIVATION_TYPES = ("int8", "uint8", "int16", "uint16")


@dataclass(frozen=True)
class Parameters:
    """real = scale * (integer - zero_point).

    Attributes:
        scale: float32, [] or [channels].
        zero_point: of the integers' type, [] or [channels].
        axis: the channels' axis; None for a tensor.
    """

    scale: Array
    zero_point: Array
    axis: int | None = None

    @property
    def per_channel(self) -> bool:
        """Whether each channel has its own."""
        return self.axis is not None

    def same_as(self, other: Parameters) -> bool:
        """Whether both give every integer of the same type the same real value."""
        return (
            self.axis == other.axis
            and self.zero_point.dtype == other.zero_point.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def quantize(self, real: Array) -> Array:
        """Integers as ONNX defines QuantizeLinear: round(x / scale), half to even, saturated."""
        steps = np.rint(real.astype(np.float32) / self._wide(self.scale, real.ndim))
        limits = np.iinfo(self.zero_point.dtype)
        shifted = steps + self._wide(self.zero_point, real.ndim)
        integers: Array = np.clip(shifted, limits.min, limits.max).astype(self.zero_point.dtype)
        return integers

    def dequantize(self, integers: Array) -> Array:
        """Real values, float32."""
        wide = integers.astype(np.int32) - self._wide(self.zero_point, integers.ndim)
        real: Array = wide.astype(np.float32) * self._wide(self.scale, integers.ndim)
        return real

    def wide_zero_point(self, rank: int) -> Array:
        """The zero point, int32, in a form that broadcasts against integers of that rank."""
        return self._wide(self.zero_point, rank)

    def _wide(self, values: Array, rank: int) -> Array:
        wide = values.astype(np.int32) if values.dtype.kind in "iu" else values
        if self.axis is None:
            return wide
        shape = [1] * rank
        shape[self.axis] = -1
        return wide.reshape(shape)


def parameters_of(node: ir.Node) -> Parameters:
    """The parameters of a QuantizeLinear or DequantizeLinear.

    One channel's worth of scales counts as one scale.

    Raises:
        UnsupportedError: they are computed, in blocks, or of a type that no kernel takes.
    """
    scale = _constant(node, 1, "scale")
    given = len(node.inputs) > 2 and node.inputs[2] is not None
    point = _constant(node, 2, "zero point") if given else np.zeros(scale.shape, _dtype(node))
    _check(node, scale, point)
    if scale.size == 1:
        return Parameters(scale.astype(np.float32).reshape(()), point.reshape(()))
    attribute = node.attributes.get("axis")
    axis = 1 if attribute is None else int(attribute.value)
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if axis < 0 and shape is not None:
        axis += len(shape)
    return Parameters(scale.astype(np.float32), np.broadcast_to(point, scale.shape).copy(), axis)


def _constant(node: ir.Node, index: int, what: str) -> Array:
    data = constant(node.inputs[index])
    if data is None:
        raise UnsupportedError(
            str(node.name),
            node.op_type,
            f"its {what} is computed while the model runs",
            "quantize the model statically, with calibrated scales",
        )
    return data


def _dtype(node: ir.Node) -> np.dtype[Any]:
    """The integers' type where no zero point tells it."""
    if node.op_type == DEQUANTIZE and node.inputs[0] is not None and node.inputs[0].dtype:
        held: np.dtype[Any] = np.dtype(node.inputs[0].dtype.numpy())
        return held
    attribute = node.attributes.get("output_dtype")
    if attribute is not None and attribute.value:
        given: np.dtype[Any] = np.dtype(ir.DataType(attribute.value).numpy())
        return given
    return np.dtype(np.uint8)


def _check(node: ir.Node, scale: Array, point: Array) -> None:
    problem = ""
    allowed = (*ACTIVATION_TYPES, *(() if node.op_type == QUANTIZE else ("int32",)))
    block = node.attributes.get("block_size")
    if point.dtype.name not in allowed:
        problem = f"it has {point.dtype.name} integers"
    elif scale.ndim > 1 or (block is not None and block.value):
        problem = "it has a scale for each block"
    elif point.size not in (1, scale.size) or scale.size == 0:
        problem = f"it has {scale.size} scales and {point.size} zero points"
    elif not np.isfinite(scale.astype(np.float64)).all() or (scale <= 0).any():
        problem = "a scale is not positive and finite"
    if problem:
        raise UnsupportedError(
            str(node.name),
            node.op_type,
            problem,
            "quantize to int8, uint8 or int16 with one scale for a tensor or for each channel",
        )


def is_quantize(node: ir.Node | None) -> bool:
    """Whether it is a QuantizeLinear."""
    return node is not None and node.op_type == QUANTIZE


def is_dequantize(node: ir.Node | None) -> bool:
    """Whether it is a DequantizeLinear."""
    return node is not None and node.op_type == DEQUANTIZE


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, each once, in the order of use."""
    return list(dict.fromkeys(node for node, _ in value.uses()))


def common_quantization(value: ir.Value) -> Parameters | None:
    """The one quantization that every reader of a real value gives it; None where they differ.

    None, too, where a reader is no QuantizeLinear or the value is an output of the graph.
    """
    nodes = readers(value)
    if not nodes or value.is_graph_output() or not all(is_quantize(node) for node in nodes):
        return None
    found = [parameters_of(node) for node in nodes]
    return found[0] if all(found[0].same_as(other) for other in found[1:]) else None


def source_quantization(value: ir.Value | None) -> Parameters | None:
    """The quantization of the integers behind a real value; None for one that is computed."""
    producer = value.producer() if value is not None else None
    return parameters_of(producer) if producer is not None and is_dequantize(producer) else None


def quantization_behind(node: ir.Node) -> ir.Node | None:
    """The one QuantizeLinear of a node's result, which other operators may move before.

    Softmax of opset 12 and older works on two axes; in newer ones it has a Reshape on both sides.
    """
    while True:
        found = readers(node.outputs[0])
        if len(found) != 1 or node.outputs[0].is_graph_output():
            return None
        if is_quantize(found[0]):
            return found[0]
        if found[0].op_type not in MOVING:
            return None
        node = found[0]


def replace_parameters(graph: ir.Graph, quantize: ir.Node, wanted: Parameters) -> bool:
    """Give a QuantizeLinear and all that read its integers other parameters.

    Returns:
        Whether anything changed: nothing where others than DequantizeLinear read the integers.
    """
    integers = quantize.outputs[0]
    users = readers(integers)
    plain = not integers.is_graph_output() and all(map(is_dequantize, users))
    if not plain or parameters_of(quantize).same_as(wanted):
        return False
    for one in (quantize, *users):
        set_parameters(graph, one, wanted)
    return True


def real_constant(value: ir.Value | None) -> Array | None:
    """The real numbers of a constant, be it real or integers behind a DequantizeLinear."""
    producer = value.producer() if value is not None else None
    if producer is None or not is_dequantize(producer):
        return constant(value)
    integers = constant(producer.inputs[0])
    return None if integers is None else parameters_of(producer).dequantize(integers)


def quantize(
    graph: ir.Graph, place: ir.Node, value: ir.Value, parameters: Parameters, name: str
) -> ir.Value:
    """Insert a QuantizeLinear of `value` before `place`; return the integers."""
    integers = _insert(graph, place, QUANTIZE, value, parameters, name)
    integers.dtype = ir.DataType.from_numpy(parameters.zero_point.dtype)
    return integers


def dequantize(
    graph: ir.Graph, place: ir.Node, value: ir.Value, parameters: Parameters, name: str
) -> ir.Value:
    """Insert a DequantizeLinear of `value` before `place`; return the real values."""
    real = _insert(graph, place, DEQUANTIZE, value, parameters, name)
    real.dtype = ir.DataType.FLOAT
    return real


def _insert(
    graph: ir.Graph,
    place: ir.Node,
    op_type: str,
    value: ir.Value,
    parameters: Parameters,
    name: str,
) -> ir.Value:
    inputs = [value, *parameter_values(graph, parameters, name)]
    attributes = {} if parameters.axis is None else {"axis": parameters.axis}
    node = ir.node(op_type, inputs, attributes=attributes, name=f"{name}/{op_type}")
    node.outputs[0].name = name
    node.outputs[0].shape = value.shape
    graph.insert_before(place, node)
    return node.outputs[0]


def parameter_values(graph: ir.Graph, parameters: Parameters, name: str) -> list[ir.Value]:
    """Scale and zero point as constants of the graph."""
    return [
        add_constant(graph, f"{name}_scale", parameters.scale),
        add_constant(graph, f"{name}_zero_point", parameters.zero_point),
    ]


def set_parameters(graph: ir.Graph, node: ir.Node, parameters: Parameters) -> None:
    """Give a QuantizeLinear or DequantizeLinear other parameters, written out in full."""
    values = parameter_values(graph, parameters, str(node.outputs[0].name))
    node.resize_inputs(3)
    for index, value in enumerate(values, start=1):
        node.replace_input_with(index, value)
    for name in ("axis", "output_dtype", "block_size", "saturate"):
        node.attributes.pop(name, None)
    if parameters.axis is not None:
        node.attributes["axis"] = ir.AttrInt64("axis", parameters.axis)
