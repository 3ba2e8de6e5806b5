"""Activations become int8, one scale for a tensor.

- uint8 with zero point z → int8 with zero point z - 128: the same real values, exactly.
- The graph's own inputs and outputs keep the user's type, with a shift behind or before them.
- A scale for each channel of an activation has no int8 form. Refused; or, on request, one scale
  that covers all channels.

Requires: explicit_quantization, symmetric_weights.
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
    set_parameters,
)

SHIFT = 128
_REWRITE = "uint8 activations become int8"


def signed_activations(model: ir.Model, changes: Changes) -> bool:
    """Bring every activation to int8; return whether anything changed.

    Raises:
        UnsupportedError: scales for each channel, where no requantization is allowed.
    """
    modified = False
    graph = model.graph
    for node in list(graph):
        if not (is_quantize(node) or is_dequantize(node)):
            continue
        parameters = parameters_of(node)
        data = constant(node.inputs[0])
        if data is not None:
            modified |= _constant(graph, node, parameters)
            continue
        if parameters.per_channel:
            parameters = _one_scale(graph, node, parameters, changes)
            modified = True
        if parameters.zero_point.dtype == np.uint8:
            _shift(graph, node, parameters)
            changes.note(_REWRITE, node.name)
            modified = True
    return modified


def _constant(graph: ir.Graph, node: ir.Node, parameters: Parameters) -> bool:
    """A constant operand that is uint8: of an addition, say."""
    data = constant(node.inputs[0])
    if data is None or data.dtype != np.uint8:
        return False
    integers = (data.astype(np.int16) - SHIFT).astype(np.int8)
    value = add_constant(graph, f"{node.inputs[0].name}_int8", integers)
    node.replace_input_with(0, value)
    set_parameters(graph, node, _shifted(parameters))
    return True


def _shifted(parameters: Parameters) -> Parameters:
    point = (parameters.zero_point.astype(np.int16) - SHIFT).astype(np.int8)
    return Parameters(parameters.scale, point, parameters.axis)


def _shift(graph: ir.Graph, node: ir.Node, parameters: Parameters) -> None:
    signed = _shifted(parameters)
    if is_quantize(node):
        value = node.outputs[0]
        if value.is_graph_output():
            _keep_output(graph, node, parameters, signed)
        else:
            set_parameters(graph, node, signed)
            value.dtype = ir.DataType.INT8
        return
    source = node.inputs[0]
    if source in graph.inputs or _views_of_input(graph, source):
        integers = qdq.quantize(graph, node, node.outputs[0], signed, f"{source.name}_int8")
        real = qdq.dequantize(graph, node, integers, signed, f"{source.name}_real")
        _behind(graph, node, integers, real)
    else:
        set_parameters(graph, node, signed)


def _behind(graph: ir.Graph, node: ir.Node, integers: ir.Value, real: ir.Value) -> None:
    """Put a QuantizeLinear and DequantizeLinear behind a node for all its readers."""
    added = [integers.producer(), real.producer()]
    graph.remove([one for one in added if one is not None])
    graph.insert_after(node, [one for one in added if one is not None])
    old = node.outputs[0]
    for user, index in list(old.uses()):
        if user not in added:
            user.replace_input_with(index, real)


def _views_of_input(graph: ir.Graph, value: ir.Value) -> bool:
    producer = value.producer()
    return (
        producer is not None
        and producer.op_type == "Transpose"
        and producer.inputs[0] in (graph.inputs)
    )


def _keep_output(graph: ir.Graph, node: ir.Node, unsigned: Parameters, signed: Parameters) -> None:
    """Real → Quantize(int8) → Dequantize → Quantize(uint8), which is the output."""
    name = str(node.outputs[0].name)
    integers = qdq.quantize(graph, node, node.inputs[0], signed, f"{name}_int8")
    real = qdq.dequantize(graph, node, integers, signed, f"{name}_real")
    node.replace_input_with(0, real)
    for user, index in list(node.outputs[0].uses()):
        user.replace_input_with(index, integers)
    set_parameters(graph, node, unsigned)


def _one_scale(
    graph: ir.Graph, node: ir.Node, parameters: Parameters, changes: Changes
) -> Parameters:
    changes.require_requantize(
        node.name,
        node.op_type,
        f"it gives each of {parameters.scale.size} channels of an activation its own scale",
    )
    limits = np.iinfo(parameters.zero_point.dtype)
    points = parameters.zero_point.astype(np.float64)
    scale = parameters.scale.astype(np.float64)
    low = min(0.0, float(((limits.min - points) * scale).min()))
    high = max(0.0, float(((limits.max - points) * scale).max()))
    step = np.float32((high - low) / (limits.max - limits.min))
    point = np.clip(round(limits.min - low / float(step)), limits.min, limits.max)
    one = Parameters(np.asarray(step), np.asarray(point, parameters.zero_point.dtype))
    set_parameters(graph, node, one)
    detail = f"steps of {step:.3g} for all, {scale.min():.3g} to {scale.max():.3g} before"
    changes.note("one scale for all channels of an activation", node.name, detail, exact=False)
    return one
