"""Products with a constant matrix become Gemm on [N, in] with the weight as [out, in].

1. MatMul(x, constant [in, out]) → Gemm; x of more axes is seen as [N, in], the result as before.
2. A constant bias added right behind it becomes the Gemm's own.
3. Gemm with transB = 0, alpha or beta: the constants take them up. Integer weights are transposed,
   never computed with.

Requires: integer_constants, so that a quantized weight is a constant behind a DequantizeLinear.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.plain_operators import replace_result
from exporter.graph.qdq import Parameters, is_dequantize, parameters_of, readers

Array = np.ndarray


def dense_layers(model: ir.Model, changes: Changes) -> bool:
    """Rewrite each; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type == "MatMul" and _matmul(model.graph, node):
            changes.note("MatMul by a constant becomes Gemm", node.name)
            modified = True
    for node in list(model.graph):
        if node.op_type == "Gemm" and _normalize(model.graph, node):
            modified = True
    return modified


def _weight(value: ir.Value | None) -> Array | None:
    """A constant weight's numbers: real, or the integers behind a DequantizeLinear."""
    producer = value.producer() if value is not None else None
    if producer is not None and is_dequantize(producer):
        return constant(producer.inputs[0])
    return constant(value)


def _matmul(graph: ir.Graph, node: ir.Node) -> bool:
    source, weight, result = node.inputs[0], _weight(node.inputs[1]), node.outputs[0]
    if weight is None or weight.ndim != 2 or source is None or source.shape is None:
        return False
    sizes = [size for size in source.shape if isinstance(size, int)]
    if len(sizes) != len(source.shape) or len(sizes) < 2 or _weight(source) is not None:
        return False
    name = str(result.name)
    rows = math.prod(sizes[:-1])
    if len(sizes) > 2:
        source = _reshape(graph, node, source, [rows, sizes[-1]], f"{name}_rows")
    inputs = [source, node.inputs[1]]
    added = _added_bias(node, weight.shape[1])
    if added is not None:
        inputs.append(added[1])
    value = insert_before(graph, node, "Gemm", inputs, f"{name}_product")
    value.shape, value.dtype = ir.Shape([rows, weight.shape[1]]), ir.DataType.FLOAT
    if len(sizes) > 2:
        value = _reshape(graph, node, value, [*sizes[:-1], weight.shape[1]], f"{name}_again")
    replace_result(graph, node, value)
    if added is not None:
        replace_result(graph, added[0], value)
    return True


def _reshape(
    graph: ir.Graph, node: ir.Node, value: ir.Value, sizes: list[int], name: str
) -> ir.Value:
    shape = add_constant(graph, f"{name}_shape", np.array(sizes, np.int64))
    seen = insert_before(graph, node, "Reshape", [value, shape], name)
    seen.shape, seen.dtype = ir.Shape(sizes), value.dtype
    return seen


def _added_bias(node: ir.Node, channels: int) -> tuple[ir.Node, ir.Value] | None:
    """The Add right behind, and its constant [out]."""
    users = readers(node.outputs[0])
    if len(users) != 1 or users[0].op_type != "Add" or node.outputs[0].is_graph_output():
        return None
    other = next((v for v in users[0].inputs if v is not node.outputs[0]), None)
    data = constant(other)
    if other is None or data is None or data.shape != (channels,):
        return None
    return users[0], other


def _normalize(graph: ir.Graph, node: ir.Node) -> bool:
    alpha, beta = (_attribute(node, name, 1.0) for name in ("alpha", "beta"))
    weight = _weight(node.inputs[1])
    if weight is None or _attribute(node, "transA", 0):
        return False
    quantized = constant(node.inputs[1]) is None
    transposed = bool(_attribute(node, "transB", 0))
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2]) if has_bias else None
    if (alpha != 1.0 and quantized) or (beta != 1.0 and has_bias and bias is None):
        return False
    modified = not transposed or alpha != 1.0 or beta != 1.0
    if not transposed or alpha != 1.0:
        _set_weight(graph, node, weight if transposed else weight.T, alpha)
    if bias is not None and (beta != 1.0 or bias.shape != (weight.shape[0 if transposed else 1],)):
        channels = weight.shape[0 if transposed else 1]
        if bias.size not in (1, channels):
            return modified
        scaled = np.broadcast_to(bias.reshape(-1) * np.float32(beta), (channels,))
        name = f"{node.inputs[2].name}_scaled"
        node.replace_input_with(2, add_constant(graph, name, scaled.astype(np.float32)))
        modified = True
    for name in ("alpha", "beta"):
        node.attributes.pop(name, None)
    node.attributes["transB"] = ir.AttrInt64("transB", 1)
    return modified


def _attribute(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def _set_weight(graph: ir.Graph, node: ir.Node, data: Array, alpha: float) -> None:
    name = f"{node.inputs[1].name}_by_row"
    if constant(node.inputs[1]) is not None:
        scaled = data if alpha == 1.0 else data * np.float32(alpha)
        node.replace_input_with(1, add_constant(graph, name, scaled))
        return
    producer = node.inputs[1].producer()
    if producer is None:
        return
    before = parameters_of(producer)
    axis = (
        None if before.axis is None else (1 - before.axis if not _is_by_row(node) else before.axis)
    )
    parameters = Parameters(before.scale, before.zero_point, axis)
    value = add_constant(graph, f"{name}_integers", data)
    node.replace_input_with(1, qdq.dequantize(graph, node, value, parameters, name))


def _is_by_row(node: ir.Node) -> bool:
    return bool(_attribute(node, "transB", 0))
