"""Quantize before a selecting operator in place of behind it.

    computed → MaxPool → QuantizeLinear   becomes   computed → Q → DQ → MaxPool → Q

The same integers, since rounding keeps the order of values; and what is computed gets its scale
where it is computed. NNCF quantizes in front of the next convolution, so that pooling, reshapes and
clips lie in between.

Requires: parameters written out (explicit_quantization).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import clip_limits, constant, implied_by_quantization
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.selecting import data_inputs, selects
from exporter.graph.qdq import Parameters, common_quantization, is_dequantize, readers

_FUSED = {"Clip", "Relu"}


def quantization_first(model: ir.Model, changes: Changes) -> bool:
    """Move quantization up, until nothing moves; return whether anything changed."""
    modified = False
    for node in reversed(list(model.graph)):
        wanted = _wanted(node) if selects(node) else None
        if wanted is None or _fuses(node, wanted):
            continue
        for index in data_inputs(node):
            value = node.inputs[index]
            if value is not None and _is_computed(value):
                _insert(model.graph, node, index, wanted)
                changes.note("quantization moves in front of what only selects", node.name)
                modified = True
    return modified


def _wanted(node: ir.Node) -> Parameters | None:
    """The one quantization of all the results; None where there is none or several."""
    found = [common_quantization(value) for value in node.outputs if readers(value)]
    first = found[0] if found else None
    if first is None or first.per_channel or any(value.is_graph_output() for value in node.outputs):
        return None
    return first if all(one is not None and first.same_as(one) for one in found) else None


def _fuses(node: ir.Node, wanted: Parameters) -> bool:
    """Whether an activation becomes part of the operator before it, which then is quantized.

    In int16 any ReLU does: no kernel of ONNX Runtime asks for a zero point that implies it.
    """
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    return (
        node.op_type in _FUSED
        and producer is not None
        and producer.op_type in ("Add", "Conv", "Gemm", "Mul", "Sub")
        and len(readers(node.inputs[0])) == 1
        and len(readers(node.outputs[0])) == 1
        and (implied_by_quantization(node) or _is_wide_relu(node, wanted))
    )


def _is_wide_relu(node: ir.Node, wanted: Parameters) -> bool:
    in_int16 = wanted.zero_point.dtype == np.int16
    return in_int16 and (node.op_type == "Relu" or clip_limits(node) == (0.0, 6.0))


def _is_computed(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and not is_dequantize(producer) and constant(value) is None


def _insert(graph: ir.Graph, node: ir.Node, index: int, wanted: Parameters) -> None:
    value = node.inputs[index]
    name = f"{value.name}_for_{node.outputs[0].name}_{index}"
    integers = qdq.quantize(graph, node, value, wanted, f"{name}_int8")
    node.replace_input_with(index, qdq.dequantize(graph, node, integers, wanted, name))
