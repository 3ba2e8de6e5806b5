"""Constants that are quantized become integers: float → QuantizeLinear is computed here.

The formula is torch's own (`torch.ops.quantized_decomposed.quantize_per_tensor`): the product with
the reciprocal scale, rounded half to even, in float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph.onnx_edit import add_constant, constant, required_constant


def quantized_constants(model: ir.Model) -> bool:
    """Float constant → int8 constant; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        data = constant(node.inputs[0]) if node.op_type == "QuantizeLinear" else None
        if data is None or node.outputs[0].is_graph_output():
            continue
        scale, point = required_constant(node, 1), required_constant(node, 2)
        if scale.size != 1:
            continue
        limits = np.iinfo(point.dtype)
        steps = np.rint(data.astype(np.float32) * (np.float32(1.0) / np.float32(scale)))
        integers = np.clip(steps + int(point), limits.min, limits.max).astype(point.dtype)
        name = f"{node.inputs[0].name}_integers"
        node.outputs[0].replace_all_uses_with(add_constant(model.graph, name, integers))
        model.graph.remove(node, safe=True)
        modified = True
    return modified
