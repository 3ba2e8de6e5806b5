"""MatMul of two computed matrices → BATCH_MATMUL in float.

With the rule for products (`exporter.quantize.exact`) the float result lies farther from a tie than
float32 errs, so ONNX Runtime's integer product gives the same integers.
"""

from __future__ import annotations

from exporter.graph.model import Operator
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers


@lowers("MatMul")
def matmul(lowering: Lowering, operator: Operator) -> None:
    """Lower a product of [..., n, k] and [..., k, m]."""
    result = lowering.result(operator)
    sources = [lowering.source(operator, index) for index in (0, 1)]
    if any(lowering.is_image(tensor) for tensor in (*sources, result)):
        raise lowering.refuse(
            operator, "it multiplies images", "flatten height and width to tokens first"
        )
    inputs = [lowering.real(tensor, result) for tensor in sources]
    lowering.real_result(
        result, lambda out: lowering.writer.operator("BATCH_MATMUL", inputs, [out])
    )
