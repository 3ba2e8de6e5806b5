"""Functions of one int8 value that TFLite lacks: a table of 256 entries.

The entries are what ONNX Runtime computes for the 256 integers, so the two files cannot differ.
"""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Array, Operator, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.ops.in_float import function_in_float
from exporter.tflite.registry import lowers

OFFSET = 128


@lowers("Celu", "Erf", "Mish", "Selu", "Softplus", "Softsign")
def table(lowering: Lowering, operator: Operator) -> None:
    """Lower a function as GATHER: table[x + 128]."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    is_wide = source.dtype == np.int16
    in_float = source.quantization is None or result.quantization is None
    if in_float or (is_wide and operator.kind == "Mish"):
        function_in_float(lowering, operator)
        return
    if is_wide:
        raise lowering.refuse(
            operator,
            "it is a table of 256 entries, and its values are int16",
            "replace it in the model, or leave the activations in int8",
        )
    writer, name, shape = lowering.writer, operator.name, lowering.shape(result)
    integer = np.dtype(np.int32)
    wide = writer.tensor(f"{name}_wide", shape, integer)
    position = writer.tensor(f"{name}_position", shape, integer)
    writer.operator(
        "CAST", [lowering.index(source)], [wide], inDataType="INT8", outDataType="INT32"
    )
    writer.operator("ADD", [wide, lowering.integers(f"{name}_offset", [OFFSET])], [position])
    entries = entries_of(operator, source, result)
    description = Tensor(f"{name}_table", (256,), result.dtype, result.quantization)
    data = lowering.constant(description, entries)
    writer.operator("GATHER", [data, position], [lowering.index(result)], version=2, axis=0)


def entries_of(operator: Operator, source: Tensor, result: Tensor) -> Array:
    """The function of each int8 value from -128 to 127, int8 [256], as ONNX Runtime computes it."""
    import onnx
    import onnxruntime
    from onnx import helper

    given, quantization = source.quantization, result.quantization
    if given is None or quantization is None:
        raise ValueError(f"{source.name} or {result.name} has no scale")
    node = helper.make_node(operator.kind, ["x"], ["y"], **operator.attributes)
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [256]) for name in ("x", "y")
    ]
    graph = helper.make_graph([node], "table", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    integers = np.arange(-OFFSET, OFFSET, dtype=np.float32)
    real = (integers - np.float32(given.zero_point)) * given.scale.astype(np.float32)
    output = session.run(None, {"x": real})[0]
    steps = np.rint(output / quantization.scale.astype(np.float32)) + quantization.zero_point
    entries: Array = np.clip(steps, -OFFSET, OFFSET - 1).astype(np.int8)
    return entries
