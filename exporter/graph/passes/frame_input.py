"""Let the graph take camera frames: uint8 [N, H, W, C], in place of floats [N, C, H, W].

Requires: the float input is read by one QuantizeLinear with scale s and zero point z. Then frames
are integers of the same scale, and no arithmetic is left at the entrance:

    frames uint8 → Transpose → DequantizeLinear(s, f) → QuantizeLinear(s, z) → as before

The frames' zero point f is z + 128 where the values behind it are int8.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.errors import CanonicalError
from exporter.graph.onnx_edit import add_constant, insert_before, only, required_constant


def frame_input(model: ir.Model, *, signed: bool = False, zero_point: int | None = None) -> bool:
    """Float NCHW input → uint8 (or int8) NHWC input. Return whether anything changed.

    `zero_point` is the frames'; None takes that of the values behind it, which are int8.
    """
    graph = model.graph
    old = only(list(graph.inputs), "input")
    readers = [node for node, _ in old.uses()]
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        raise CanonicalError(
            f"input '{old.name}' must be read by one QuantizeLinear",
            found=", ".join(node.op_type for node in readers) or "no reader",
        )
    quantize = readers[0]
    integer = ir.DataType.INT8 if signed else ir.DataType.UINT8
    if zero_point is None:
        behind = required_constant(quantize, 2)
        if behind.dtype == np.int16:
            raise ValueError("frames before int16 values need their zero point")
        zero_point = int(behind) + (0 if signed else 128)
    batch, channels, height, width = old.shape
    frames = ir.Value(
        name=old.name,
        shape=ir.Shape([batch, height, width, channels]),
        type=ir.TensorType(integer),
    )
    old.name = f"{old.name}_float"
    moved = insert_before(
        graph, quantize, "Transpose", [frames], f"{frames.name}_nchw", {"perm": [0, 3, 1, 2]}
    )
    scale = quantize.inputs[1]
    point = add_constant(graph, f"{frames.name}_zero_point", np.array(zero_point, integer.numpy()))
    real = insert_before(
        graph, quantize, "DequantizeLinear", [moved, scale, point], f"{frames.name}_real"
    )
    for value, dtype in ((moved, integer), (real, ir.DataType.FLOAT)):
        value.shape, value.type = old.shape, ir.TensorType(dtype)
    quantize.replace_input_with(0, real)
    graph.inputs[0] = frames
    return True
