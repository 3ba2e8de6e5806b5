"""Operators that select among integers get the real form, in between DQ and Q.

A QOperator model runs MaxPool, Reshape, Transpose and their like on the integers themselves; in QDQ
form they have a scale that can be told.

Requires: qoperator; nodes in order.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.selecting import data_inputs, selects
from exporter.graph.qdq import Parameters, is_dequantize, is_quantize, parameters_of, readers

_CONSTANTS = {"Clip": (1, 2), "Pad": (2,)}
"""Inputs that are integers of the data's own kind."""
_INTEGER = {ir.DataType.INT8, ir.DataType.UINT8}


def integer_selection(model: ir.Model, changes: Changes) -> bool:
    """Wrap each such operator; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type == "Resize" or selects(node):
            value = node.inputs[0] if node.inputs else None
            if value is None or value.dtype not in _INTEGER or constant(value) is not None:
                continue
            parameters = _parameters(value)
            if parameters is not None:
                _wrap(model.graph, node, parameters)
                changes.note("integer operators become real ones in QDQ form", node.name)
                modified = True
    return modified


def _parameters(value: ir.Value) -> Parameters | None:
    """What the integers stand for, by who made them or, for an input, by who reads them."""
    producer = value.producer()
    if producer is not None and is_quantize(producer):
        return parameters_of(producer)
    return _read_by(value, depth=8)


def _read_by(value: ir.Value, depth: int) -> Parameters | None:
    for node in readers(value):
        if is_dequantize(node):
            return parameters_of(node)
        if depth and selects(node) and (found := _read_by(node.outputs[0], depth - 1)):
            return found
    return None


def _as_real(graph: ir.Graph, node: ir.Node, index: int, parameters: Parameters) -> None:
    """What an operator brings in as an integer, a limit or the value to pad with, as a number.

    Padding without a value is padding with the integer 0, which may stand for another number.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    data = constant(value)
    if node.op_type == "Pad" and value is None and _pads_constants(node):
        data = np.zeros((), parameters.zero_point.dtype)
    if data is None:
        return
    real = parameters.dequantize(data)
    node.resize_inputs(max(len(node.inputs), index + 1))
    name = f"{node.outputs[0].name}_constant{index}"
    node.replace_input_with(index, add_constant(graph, name, real))


def _pads_constants(node: ir.Node) -> bool:
    mode = node.attributes.get("mode")
    return mode is None or mode.value == "constant"


def _wrap(graph: ir.Graph, node: ir.Node, parameters: Parameters) -> None:
    for index in data_inputs(node):
        value = node.inputs[index]
        name = f"{value.name}_for_{node.outputs[0].name}_{index}"
        node.replace_input_with(index, qdq.dequantize(graph, node, value, parameters, name))
    for index in _CONSTANTS.get(node.op_type, ()):
        _as_real(graph, node, index, parameters)
    for old in node.outputs:
        if not old.uses() and not old.is_graph_output():
            continue
        name, dtype = str(old.name), old.dtype
        old.name, old.dtype = f"{name}_real", ir.DataType.FLOAT
        new = ir.Value(name=name, shape=old.shape, type=ir.TensorType(dtype or ir.DataType.INT8))
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        constants = qdq.parameter_values(graph, parameters, name)
        quantize = ir.Node(
            "", qdq.QUANTIZE, [old, *constants], outputs=[new], name=f"{name}/{qdq.QUANTIZE}"
        )
        graph.insert_after(node, quantize)
