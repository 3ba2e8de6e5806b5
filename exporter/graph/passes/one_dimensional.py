"""Operators along one axis get a second of size one: TFLite has them in two dimensions.

    Conv [N, C, L] → Reshape [N, C, 1, L] → Conv → Reshape [N, C', L']

Requires: fixed shapes; constant weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.plain_operators import replace_result
from exporter.graph.qdq import Parameters, is_dequantize, parameters_of

_OPERATORS = {"AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "MaxPool"}
_ONES = {"kernel_shape", "strides", "dilations"}
_ZEROS = {"output_padding"}


def one_dimensional(model: ir.Model, changes: Changes) -> bool:
    """Widen each; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if node.op_type not in _OPERATORS or source is None or source.shape is None:
            continue
        if len(source.shape) == 3 and _widen(model.graph, node):
            changes.note("an operator along one axis gets a second", node.name)
            modified = True
    return modified


def _widen(graph: ir.Graph, node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    fixed = [
        s is not None and all(isinstance(n, int) for n in s) for s in (source.shape, result.shape)
    ]
    if not all(fixed) or len(node.outputs) > 1:
        return False
    inputs = [_seen(graph, node, source, f"{result.name}_plane"), *node.inputs[1:]]
    if len(inputs) > 1:
        weight = _wide_weight(graph, node)
        if weight is None:
            return False
        inputs[1] = weight
    value = insert_before(graph, node, node.op_type, inputs, f"{result.name}_wide")
    batch, channels, length = result.shape
    value.shape, value.dtype = ir.Shape([batch, channels, 1, length]), result.dtype
    wide = value.producer()
    if wide is not None:
        for name, attribute in node.attributes.items():
            wide.attributes[name] = _wide_attribute(name, attribute)
    sizes = add_constant(graph, f"{result.name}_line", np.array(list(result.shape), np.int64))
    replace_result(
        graph, node, insert_before(graph, node, "Reshape", [value, sizes], f"{result.name}_again")
    )
    return True


def _seen(graph: ir.Graph, node: ir.Node, value: ir.Value, name: str) -> ir.Value:
    batch, channels, length = value.shape
    shape = [batch, channels, 1, length]
    sizes = add_constant(graph, f"{name}_shape", np.array(shape, np.int64))
    seen = insert_before(graph, node, "Reshape", [value, sizes], name)
    seen.shape, seen.dtype = ir.Shape(shape), value.dtype
    return seen


def _wide_weight(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    name = f"{node.inputs[1].name}_plane"
    data = constant(node.inputs[1])
    if data is not None:
        return add_constant(graph, name, data[:, :, None, :])
    producer = node.inputs[1].producer()
    integers = constant(producer.inputs[0]) if producer is not None else None
    if producer is None or integers is None or not is_dequantize(producer):
        return None
    before = parameters_of(producer)
    value = add_constant(graph, f"{name}_integers", integers[:, :, None, :])
    after = Parameters(before.scale, before.zero_point, before.axis)
    return qdq.dequantize(graph, node, value, after, name)


def _wide_attribute(name: str, attribute: ir.Attr) -> ir.Attr:
    if name in _ONES:
        return ir.AttrInt64s(name, [1, *attribute.value])
    if name in _ZEROS:
        return ir.AttrInt64s(name, [0, *attribute.value])
    if name == "pads":
        before, after = attribute.value
        return ir.AttrInt64s(name, [0, before, 0, after])
    return attribute
