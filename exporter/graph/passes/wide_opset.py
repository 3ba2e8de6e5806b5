"""int16 values need ONNX opset 21: QuantizeLinear and DequantizeLinear know int16 from there on.

https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html. What else changed between opset 20 and 21
is types that operators take in addition, and GroupNormalization, which no canonical graph has.
"""

from __future__ import annotations

import onnx_ir as ir

OPSET = 21


def wide_opset(model: ir.Model) -> bool:
    """Declare opset 21 where a value is int16; return whether anything changed."""
    values = (value for node in model.graph for value in node.outputs)
    if model.opset_imports[""] >= OPSET or all(v.dtype != ir.DataType.INT16 for v in values):
        return False
    model.opset_imports[""] = OPSET
    return True
