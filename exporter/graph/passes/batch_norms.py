"""Batch normalization becomes part of the convolution before it, or a product and a sum.

Between integers (another quantizer left it in float) it becomes, on request, a depthwise
convolution: each channel's one weight is 127 steps of a scale of its own, so that only the offset
is rounded.

Requires: its four parameters are constants, as in a trained model; quantized ones count as the real
numbers that they stand for. Ioffe and Szegedy,
arXiv:1502.03167: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph.onnx_edit import add_constant, constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.integer_biases import is_quantized
from exporter.graph.qdq import Parameters, dequantize, is_dequantize, readers, real_constant

Array = np.ndarray
_EPSILON = 1e-5
_IMAGE_RANK = 4
_MOST_STEPS = 127


def batch_norms(model: ir.Model, changes: Changes) -> bool:
    """Fold every batch normalization of constants; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type != "BatchNormalization":
            continue
        parameters = [real_constant(value) for value in node.inputs[1:5]]
        if len(parameters) != 4 or any(array is None for array in parameters):
            continue
        gamma, beta, mean, variance = (np.asarray(a, np.float64) for a in parameters)
        epsilon = node.attributes.get("epsilon")
        deviation = np.sqrt(variance + (_EPSILON if epsilon is None else epsilon.value))
        factor, offset = gamma / deviation, beta - mean * gamma / deviation
        producer = node.inputs[0].producer()
        what = "batch normalization is folded"
        if _folds(node, producer):
            _into_convolution(model.graph, node, producer, factor, offset)
        elif changes.requantize and _between_integers(node, producer):
            _as_convolution(model.graph, node, factor, offset)
            what = "batch normalization becomes a depthwise convolution"
        else:
            _as_arithmetic(model.graph, node, factor, offset)
        changes.note(what, node.name)
        modified = True
    return modified


def _folds(node: ir.Node, producer: ir.Node | None) -> bool:
    return (
        producer is not None
        and producer.op_type == "Conv"
        and readers(producer.outputs[0]) == [node]
        and not producer.outputs[0].is_graph_output()
        and constant(producer.inputs[1]) is not None
        and (len(producer.inputs) < 3 or constant(producer.inputs[2]) is not None)
    )


def _into_convolution(
    graph: ir.Graph, node: ir.Node, producer: ir.Node | None, factor: Array, offset: Array
) -> None:
    weight = constant(producer.inputs[1]) if producer is not None else None
    if producer is None or weight is None:
        return
    bias = constant(producer.inputs[2]) if len(producer.inputs) > 2 else None
    shape = (-1,) + (1,) * (weight.ndim - 1)
    folded = (weight.astype(np.float64) * factor.reshape(shape)).astype(np.float32)
    total = offset + (0.0 if bias is None else bias.astype(np.float64) * factor)
    name = str(node.outputs[0].name)
    producer.resize_inputs(3)
    producer.replace_input_with(1, add_constant(graph, f"{name}_weight", folded))
    producer.replace_input_with(2, add_constant(graph, f"{name}_bias", total.astype(np.float32)))
    _replace(graph, node, producer.outputs[0])


def _between_integers(node: ir.Node, producer: ir.Node | None) -> bool:
    """Whether it reads an image of integers and its result, or its activation's, is quantized."""
    source = node.inputs[0]
    image = source is not None and source.shape is not None and len(source.shape) == _IMAGE_RANK
    return image and is_dequantize(producer) and is_quantized(node)


def _as_convolution(graph: ir.Graph, node: ir.Node, factor: Array, offset: Array) -> None:
    source, name = node.inputs[0], str(node.outputs[0].name)
    if source is None:
        return
    size = np.abs(factor)
    steps = np.where(size > 0, size, 1.0) / _MOST_STEPS
    integers = (np.sign(factor) * _MOST_STEPS).astype(np.int8).reshape(-1, 1, 1, 1)
    points = np.zeros(steps.shape, np.int8)
    scale = Parameters(steps.astype(np.float32), points, 0)
    weight = add_constant(graph, f"{name}_factor", integers)
    inputs = [
        source,
        dequantize(graph, node, weight, scale, f"{name}_weight"),
        add_constant(graph, f"{name}_offset", offset.astype(np.float32)),
    ]
    result = insert_before(graph, node, "Conv", inputs, f"{name}_convolved")
    convolution = result.producer()
    if convolution is not None:
        convolution.attributes.add(ir.AttrInt64("group", len(factor)))
    result.shape, result.dtype = node.outputs[0].shape, node.outputs[0].dtype
    _replace(graph, node, result)


def _as_arithmetic(graph: ir.Graph, node: ir.Node, factor: Array, offset: Array) -> None:
    source, name = node.inputs[0], str(node.outputs[0].name)
    rank = len(source.shape) if source is not None and source.shape is not None else 4
    shape = (-1,) + (1,) * (rank - 2)
    values = [
        add_constant(graph, f"{name}_{what}", array.astype(np.float32).reshape(shape))
        for what, array in (("factor", factor), ("offset", offset))
    ]
    product = insert_before(graph, node, "Mul", [source, values[0]], f"{name}_scaled")
    total = insert_before(graph, node, "Add", [product, values[1]], f"{name}_shifted")
    for value in (product, total):
        value.shape, value.dtype = node.outputs[0].shape, node.outputs[0].dtype
    _replace(graph, node, total)


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    old = node.outputs[0]
    name, old.name = old.name, f"{old.name}_normalized"
    if old.is_graph_output():
        value.name = name
    value.shape = old.shape if old.shape is not None else value.shape
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
