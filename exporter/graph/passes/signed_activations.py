"""Activations become int8, or int16 with zero point 0, one scale for a tensor.

- uint8 with zero point z → int8 with zero point z - 128: the same real values, exactly. So is
  uint16 → int16, by 32768.
- The graph's own inputs and outputs keep the user's 8-bit type, with a shift behind or before them.
- int16 with another zero point than 0 has no kernel in TFLite. Refused; or, on request, one scale
  around 0 that covers the old range. A range that begins at 0 cut off what is negative, in place of
  a Relu that the other tool took out: the Relu comes back.
- A scale for each channel of an activation has no form. Refused; or, on request, one scale that
  covers all channels.

Requires: explicit_quantization, symmetric_weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.selecting import data_inputs, selects
from exporter.graph.qdq import (
    Parameters,
    is_dequantize,
    is_quantize,
    parameters_of,
    set_parameters,
)

_SIGNED = {"uint8": (np.int8, 128), "uint16": (np.int16, 32768)}
"""The signed type of an unsigned one, and the zero points' distance."""
_WIDE_LIMIT = 32767
_NOT_NEGATIVE = {"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Sqrt"}


def signed_activations(model: ir.Model, changes: Changes) -> bool:
    """Bring every activation to its form; return whether anything changed.

    Raises:
        UnsupportedError: scales for each channel, or int16 zero points, where no requantization is
            allowed; 16-bit inputs and outputs of the graph that are not int16 with zero point 0.
    """
    modified = False
    graph = model.graph
    for node in list(graph):
        if not (is_quantize(node) or is_dequantize(node)):
            continue
        parameters = parameters_of(node)
        if constant(node.inputs[0]) is not None:
            modified |= _constant(graph, node, parameters, changes)
            continue
        if parameters.per_channel:
            parameters = _one_scale(graph, node, parameters, changes)
            modified = True
        wanted = _around_zero(node, _signed(parameters), changes)
        if not wanted.same_as(parameters):
            _set(graph, node, parameters, wanted)
            if parameters.zero_point.dtype.name in _SIGNED:
                kinds = parameters.zero_point.dtype, wanted.zero_point.dtype
                changes.note("{} activations become {}".format(*kinds), node.name)
            modified = True
    return modified


def _constant(graph: ir.Graph, node: ir.Node, parameters: Parameters, changes: Changes) -> bool:
    """A constant operand: of an addition, say."""
    data = constant(node.inputs[0])
    if data is None or data.dtype.name not in (*_SIGNED, "int16"):
        return False
    if data.dtype.name in _SIGNED:
        kind, shift = _SIGNED[data.dtype.name]
        data = (data.astype(np.int32) - shift).astype(kind)
    signed = _signed(parameters)
    wanted = signed if signed.per_channel else _around_zero(node, signed, changes)
    if not wanted.same_as(signed):
        data = wanted.quantize(signed.dequantize(data))
    value = add_constant(graph, f"{node.inputs[0].name}_{data.dtype}", data)
    node.replace_input_with(0, value)
    set_parameters(graph, node, wanted)
    return not wanted.same_as(parameters)


def _signed(parameters: Parameters) -> Parameters:
    """The same real values in a signed type."""
    name = parameters.zero_point.dtype.name
    if name not in _SIGNED:
        return parameters
    kind, shift = _SIGNED[name]
    point = (parameters.zero_point.astype(np.int32) - shift).astype(kind)
    return Parameters(parameters.scale, point, parameters.axis)


def _around_zero(node: ir.Node, parameters: Parameters, changes: Changes) -> Parameters:
    """The same, or for an int16 value one with zero point 0 that covers the range."""
    point = int(parameters.zero_point.flat[0])
    if parameters.zero_point.dtype != np.int16 or point == 0:
        return parameters
    changes.require_requantize(
        node.name,
        node.op_type,
        f"its integers are int16 with zero point {point}; int16 kernels take zero point 0",
    )
    scale = float(parameters.scale) * (abs(point) + _WIDE_LIMIT) / _WIDE_LIMIT
    detail = f"steps of {scale:.3g}, {float(parameters.scale):.3g} before"
    changes.note("int16 activations get zero point 0", node.name, detail, exact=False)
    return Parameters(np.asarray(scale, np.float32), np.asarray(0, np.int16))


def _set(graph: ir.Graph, node: ir.Node, before: Parameters, wanted: Parameters) -> None:
    """Give a value other parameters; the graph's own inputs and outputs keep theirs."""
    if is_quantize(node):
        value = node.outputs[0]
        if _begins_at_zero(before) and wanted.zero_point.dtype == np.int16:
            _cut_off_negatives(graph, node)
        if value.is_graph_output():
            _refuse_wide_interface(node, before)
            _keep_output(graph, node, before, wanted)
        else:
            set_parameters(graph, node, wanted)
            value.dtype = ir.DataType.from_numpy(wanted.zero_point.dtype)
        return
    source = node.inputs[0]
    if source in graph.inputs or _views_of_input(graph, source):
        _refuse_wide_interface(node, before)
        integers = qdq.quantize(graph, node, node.outputs[0], wanted, f"{source.name}_int8")
        real = qdq.dequantize(graph, node, integers, wanted, f"{source.name}_real")
        _behind(graph, node, integers, real)
    else:
        set_parameters(graph, node, wanted)


def _begins_at_zero(parameters: Parameters) -> bool:
    return int(parameters.zero_point.flat[0]) == np.iinfo(parameters.zero_point.dtype).min


def _cut_off_negatives(graph: ir.Graph, node: ir.Node) -> None:
    source = node.inputs[0]
    if source is None or _has_no_negatives(source.producer()):
        return
    cut = insert_before(graph, node, "Relu", [source], f"{node.name}_from_zero")
    cut.shape, cut.dtype = source.shape, source.dtype
    node.replace_input_with(0, cut)


def _has_no_negatives(producer: ir.Node | None) -> bool:
    """Whether it gives none, or hands on values that were quantized, and cut off, before."""
    if producer is None:
        return False
    selected = [producer.inputs[index] for index in data_inputs(producer)]
    behind = [value.producer() for value in selected if value is not None]
    return producer.op_type in _NOT_NEGATIVE or (
        selects(producer) and bool(behind) and all(map(is_dequantize, behind))
    )


def _refuse_wide_interface(node: ir.Node, parameters: Parameters) -> None:
    kind = parameters.zero_point.dtype
    if kind.itemsize > 1:
        raise UnsupportedError(
            str(node.name),
            node.op_type,
            f"an input or output of the model is {kind} with zero point "
            f"{int(parameters.zero_point.flat[0])}, which TFLite does not have",
            "give the model float inputs and outputs, or int16 ones with zero point 0",
        )


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
