"""A transposed convolution whose windows do not overlap → a 1x1 convolution and DepthToSpace.

With kernel = stride and no padding each pixel gives a block of its own. The weight [in, out, k, k]
becomes [out * k * k, in, 1, 1]; integers and scales move, none changes.

Requires: integer_constants and symmetric_weights; fixed shapes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.onnx_edit import add_constant, constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.plain_operators import replace_result
from exporter.graph.qdq import Parameters, is_dequantize, parameters_of

Array = np.ndarray


def transposed_convolutions(model: ir.Model, changes: Changes) -> bool:
    """Rewrite each that has this form; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type == "ConvTranspose" and _rewrite(model.graph, node):
            changes.note("ConvTranspose becomes Conv and DepthToSpace", node.name)
            modified = True
    return modified


def _rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    producer = node.inputs[1].producer() if node.inputs[1] is not None else None
    quantized = producer is not None and is_dequantize(producer)
    weight = constant(producer.inputs[0] if quantized and producer else node.inputs[1])
    source = node.inputs[0]
    if weight is None or not _applies(node, weight) or source is None or source.shape is None:
        return False
    channels_in, channels, block, _ = weight.shape
    moved = weight.transpose(1, 2, 3, 0).reshape(channels * block * block, channels_in, 1, 1)
    name = str(node.outputs[0].name)
    kernel = add_constant(graph, f"{name}_blocks", moved)
    if quantized and producer is not None:
        before = parameters_of(producer)
        after = _repeated(before, block * block)
        kernel = qdq.dequantize(graph, node, kernel, after, f"{name}_weight")
    inputs = [source, kernel]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = _bias(graph, node, block * block)
        if bias is None:
            return False
        inputs.append(bias)
    wide = insert_before(graph, node, "Conv", inputs, f"{name}_wide", {"kernel_shape": [1, 1]})
    batch, _, height, width = source.shape
    wide.shape = ir.Shape([batch, channels * block * block, height, width])
    wide.dtype = ir.DataType.FLOAT
    value = insert_before(
        graph, node, "DepthToSpace", [wide], f"{name}_pixels", {"blocksize": block, "mode": "CRD"}
    )
    replace_result(graph, node, value)
    return True


def _applies(node: ir.Node, weight: Array) -> bool:
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] < 2:
        return False
    block = weight.shape[2]
    plain = {
        "auto_pad": ("NOTSET", "VALID"),
        "dilations": ([1, 1],),
        "group": (1,),
        "output_padding": ([0, 0],),
        "output_shape": (),
        "pads": ([0, 0, 0, 0],),
        "strides": ([block, block],),
    }
    for name, allowed in plain.items():
        attribute = node.attributes.get(name)
        if attribute is None:
            if name == "strides":
                return False
            continue
        value = attribute.value
        if (list(value) if isinstance(value, (tuple, list)) else value) not in allowed:
            return False
    return True


def _repeated(parameters: Parameters, times: int) -> Parameters:
    if not parameters.per_channel:
        return parameters
    return Parameters(
        np.repeat(parameters.scale, times), np.repeat(parameters.zero_point, times), 0
    )


def _bias(graph: ir.Graph, node: ir.Node, times: int) -> ir.Value | None:
    name = f"{node.outputs[0].name}_wide_bias"
    real = constant(node.inputs[2])
    if real is not None:
        return add_constant(graph, name, np.repeat(real, times))
    producer = node.inputs[2].producer()
    integers = constant(producer.inputs[0]) if producer is not None else None
    if producer is None or integers is None or not is_dequantize(producer):
        return None
    parameters = _repeated(parameters_of(producer), times)
    value = add_constant(graph, f"{name}_integers", np.repeat(integers, times))
    return qdq.dequantize(graph, node, value, parameters, name)
