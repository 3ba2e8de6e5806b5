"""Give biases their integers: int32 with scale = input scale * weight scale, zero point 0.

Requires: the data and weight inputs of each Conv and Gemm come from DequantizeLinear.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.errors import CanonicalError
from exporter.graph.onnx_edit import add_constant, constant, insert_before, required_constant

INT32_MAX = 2**31 - 1


def integer_bias(model: ir.Model) -> bool:
    """Float bias → int32 bias behind a DequantizeLinear. Return whether anything changed."""
    modified = False
    for node in list(model.graph):
        if node.op_type in ("Conv", "Gemm") and _quantize_bias(model.graph, node):
            modified = True
    return modified


def _quantize_bias(graph: ir.Graph, node: ir.Node) -> bool:
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is None or constant(node.inputs[1]) is not None:
        return False  # a layer that stays float; the canonical form's check knows which may
    data_scale, weight_scale = (_scale_of(node, index) for index in (0, 1))
    scale = (np.float64(data_scale) * weight_scale.astype(np.float64)).astype(np.float32)
    integers = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    if np.abs(integers).max(initial=0) > INT32_MAX:
        raise CanonicalError(
            f"the bias of {node.op_type} '{node.name}' does not fit int32",
            expected=f"magnitudes up to {INT32_MAX}",
            found=f"{np.abs(integers).max():.3g} at channel {int(np.abs(integers).argmax())}",
            remedy="the channel's weights are nearly zero: prune the channel or lower its bias",
        )
    name = str(node.inputs[2].name)
    inputs = [
        add_constant(graph, f"{name}_integers", integers.astype(np.int32)),
        add_constant(graph, f"{name}_scale", scale),
        add_constant(graph, f"{name}_zero_point", np.zeros(scale.shape, np.int32)),
    ]
    axis = {"axis": 0} if scale.ndim else {}
    dequantized = insert_before(graph, node, "DequantizeLinear", inputs, f"{name}_real", axis)
    node.replace_input_with(2, dequantized)
    return True


def _scale_of(node: ir.Node, index: int) -> np.ndarray:
    producer = node.inputs[index].producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        raise CanonicalError(
            f"input {index} of {node.op_type} '{node.name}' is not quantized",
            expected="a DequantizeLinear",
            found=producer.op_type if producer is not None else "a float constant or graph input",
        )
    return required_constant(producer, 1)
