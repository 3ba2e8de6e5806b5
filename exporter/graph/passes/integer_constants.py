"""Constants in their integers, right before the DequantizeLinear that reads them.

- Float constant → QuantizeLinear (as NNCF and torch leave weights) is computed here, as ONNX
  defines it: round(x / scale), half to even. So is a constant that is quantized twice.
- Integer constant → DequantizeLinear → Transpose, Reshape, Squeeze, Unsqueeze, Identity is computed
  on the integers, so that the weight's operator reads a DequantizeLinear again.
- Parameters that no kernel takes in integers (slopes, limits, exponents, the scale of a layer
  normalization) become the real numbers that they stand for.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant
from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import (
    Parameters,
    is_dequantize,
    is_quantize,
    parameters_of,
    real_constant,
)

Array = np.ndarray
_IN_INTEGERS = {
    "Add",
    "BatchNormalization",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Gemm",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "QuantizeLinear",
    "Sub",
}
"""Operators whose constants may be integers; batch normalization has a pass of its own."""
_VIEWS = {"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def integer_constants(model: ir.Model, changes: Changes) -> bool:
    """Compute integer constants; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if is_quantize(node):
            modified |= _quantized(model.graph, node, changes)
        elif node.op_type not in _IN_INTEGERS and node.op_type not in _VIEWS:
            modified |= _real_parameters(model.graph, node, changes)
        elif node.op_type in _VIEWS and node.inputs and node.inputs[0] is not None:
            modified |= _moved(model.graph, node, changes)
    return modified


def _quantized(graph: ir.Graph, node: ir.Node, changes: Changes) -> bool:
    data = real_constant(node.inputs[0])
    if data is None or node.outputs[0].is_graph_output():
        return False
    integers = parameters_of(node).quantize(data)
    name = f"{node.inputs[0].name}_integers"
    node.outputs[0].replace_all_uses_with(add_constant(graph, name, integers))
    graph.remove(node, safe=True)
    changes.note("float constants are stored as their integers", node.name)
    return True


def _real_parameters(graph: ir.Graph, node: ir.Node, changes: Changes) -> bool:
    modified = False
    for index, value in enumerate(node.inputs):
        if index == 0 or value is None or constant(value) is not None:
            continue
        real = real_constant(value)
        if real is not None:
            node.replace_input_with(index, add_constant(graph, f"{value.name}_real", real))
            changes.note("quantized parameters become the numbers that they stand for", node.name)
            modified = True
    return modified


def _moved(graph: ir.Graph, node: ir.Node, changes: Changes) -> bool:
    producer = node.inputs[0].producer()
    data = (
        constant(producer.inputs[0]) if producer is not None and is_dequantize(producer) else None
    )
    shape = node.outputs[0].shape
    if producer is None or data is None or shape is None or node.outputs[0].is_graph_output():
        return False
    parameters = parameters_of(producer)
    moved, axis = _apply(node, data, parameters.axis, tuple(int(size) for size in shape))
    if moved is None:
        return False
    name = str(node.outputs[0].name)
    value = add_constant(graph, f"{name}_integers", moved)
    placed = Parameters(parameters.scale, parameters.zero_point, axis)
    real = qdq.dequantize(graph, node, value, placed, f"{name}_real")
    real.shape = node.outputs[0].shape
    node.outputs[0].replace_all_uses_with(real)
    graph.remove(node, safe=True)
    changes.note("views of constants are computed", node.name)
    return True


def _apply(
    node: ir.Node, data: Array, axis: int | None, shape: tuple[int, ...]
) -> tuple[Array | None, int | None]:
    """The integers seen so, and where the channels' axis goes; None where it is cut."""
    if node.op_type == "Transpose":
        attribute = node.attributes.get("perm")
        order = list(attribute.value) if attribute is not None else list(range(data.ndim))[::-1]
        return data.transpose(order), None if axis is None else order.index(axis)
    if axis is None:
        return data.reshape(shape), None
    before = int(np.prod(data.shape[:axis]))
    for place, size in enumerate(shape):
        if size == data.shape[axis] and int(np.prod(shape[:place])) == before:
            return data.reshape(shape), place
    return None, None
