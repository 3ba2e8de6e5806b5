"""Quantize behind a selecting operator whose input is quantized, where the model leaves it out.

    DQ → Reshape → Gemm   becomes   DQ → Reshape → Q → DQ → Gemm

with the input's own parameters: the values are on that grid already, so nothing is rounded.

Requires: parameters written out (explicit_quantization); every constant behind a DequantizeLinear
is a weight or an operand.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.selecting import data_inputs, selects_on_grid
from exporter.graph.qdq import Parameters, is_quantize, readers, source_quantization


def quantization_through(model: ir.Model, changes: Changes) -> bool:
    """Carry quantization down; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        carried = _carried(node)
        if carried is None or not selects_on_grid(node, carried):
            continue
        for value in node.outputs:
            if readers(value) and not all(is_quantize(user) for user in readers(value)):
                _insert(model.graph, node, value, carried)
                changes.note("quantization goes on behind what only selects", node.name)
                modified = True
    return modified


def _carried(node: ir.Node) -> Parameters | None:
    values = [node.inputs[index] for index in data_inputs(node)] if node.inputs else []
    found = [source_quantization(value) for value in values]
    first = found[0] if found else None
    if first is None or first.per_channel:
        return None
    return first if all(one is not None and first.same_as(one) for one in found) else None


def _insert(graph: ir.Graph, node: ir.Node, value: ir.Value, parameters: Parameters) -> None:
    users = [(user, index) for user, index in value.uses() if not is_quantize(user)]
    kind = ir.DataType.from_numpy(parameters.zero_point.dtype)
    integers, real = (
        ir.Value(name=f"{value.name}_{what}", shape=value.shape, type=ir.TensorType(dtype))
        for what, dtype in (("integers", kind), ("real", ir.DataType.FLOAT))
    )
    constants = qdq.parameter_values(graph, parameters, str(value.name))
    nodes = [
        ir.Node("", kind, [source, *constants], outputs=[target], name=f"{target.name}/{kind}")
        for kind, source, target in (
            (qdq.QUANTIZE, value, integers),
            (qdq.DEQUANTIZE, integers, real),
        )
    ]
    graph.insert_after(node, nodes)
    for user, index in users:
        user.replace_input_with(index, real)
