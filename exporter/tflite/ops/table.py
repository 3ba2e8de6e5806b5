"""Functions of one int8 value that TFLite lacks: a table of 256 entries.

The entries are what ONNX Runtime computes for the 256 integers, so the two files cannot differ.
"""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Array, Operator, Quantization, Tensor
from exporter.tflite.context import Lowering
from exporter.tflite.registry import lowers

OFFSET = 128


@lowers("Celu", "Erf", "Mish", "Selu", "Softplus", "Softsign")
def table(lowering: Lowering, operator: Operator) -> None:
    """Lower a function as GATHER: table[x + 128]."""
    source, result = lowering.source(operator, 0), lowering.result(operator)
    is_wide = source.dtype == np.int16
    if operator.kind == "Mish" and (is_wide or source.quantization is None):
        _mish_in_float(lowering, operator)
        return
    if is_wide:
        raise lowering.refuse(
            operator,
            "it is a table of 256 entries, and its values are int16",
            "replace it in the model, or leave the activations in int8",
        )
    if source.quantization is None or result.quantization is None:
        raise lowering.refuse(
            operator, "TFLite has no such operator in float", "quantize it, or use another one"
        )
    writer, name, shape = lowering.writer, operator.name, lowering.shape(result)
    integer = np.dtype(np.int32)
    wide = writer.tensor(f"{name}_wide", shape, integer)
    position = writer.tensor(f"{name}_position", shape, integer)
    writer.operator(
        "CAST", [lowering.index(source)], [wide], inDataType="INT8", outDataType="INT32"
    )
    writer.operator("ADD", [wide, lowering.integers(f"{name}_offset", [OFFSET])], [position])
    entries = entries_of(operator, source.quantization, result)
    description = Tensor(f"{name}_table", (256,), result.dtype, result.quantization)
    data = lowering.constant(description, entries)
    writer.operator("GATHER", [data, position], [lowering.index(result)], version=2, axis=0)


LARGEST_EXPONENT = 20.0
"""From here on tanh(softplus(x)) is 1 in float32; exp(x) squared stays far from its end."""


def _mish_in_float(lowering: Lowering, operator: Operator) -> None:
    """X * tanh(log(1 + exp(x))) = x * n / (n + 2) with e = exp(x), n = e * (e + 2).

    Misra, arXiv:1908.08681, for the function.
    """
    source, result = lowering.source(operator, 0), lowering.result(operator)
    writer, name, shape = lowering.writer, operator.name, lowering.shape(result)
    real = lowering.real(source, result)
    two = lowering.number(f"{name}_two", 2.0)

    def emit(code: str, inputs: list[int], key: str) -> int:
        target = lowering.temporary(f"{name}_{key}", shape)
        writer.operator(code, inputs, [target])
        return target

    limit = lowering.number(f"{name}_limit", LARGEST_EXPONENT)
    power = emit("EXP", [emit("MINIMUM", [real, limit], "limited")], "exp")
    product = emit("MUL", [power, emit("ADD", [power, two], "plus")], "product")
    share = emit("DIV", [product, emit("ADD", [product, two], "sum")], "share")
    lowering.real_result(result, lambda out: writer.operator("MUL", [real, share], [out]))


def entries_of(operator: Operator, source: Quantization, result: Tensor) -> Array:
    """The function of each int8 value from -128 to 127, int8 [256], as ONNX Runtime computes it."""
    import onnx
    import onnxruntime
    from onnx import helper

    quantization = result.quantization
    if quantization is None:
        raise ValueError(f"{result.name} has no scale")
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
    real = (integers - np.float32(source.zero_point)) * source.scale.astype(np.float32)
    output = session.run(None, {"x": real})[0]
    steps = np.rint(output / quantization.scale.astype(np.float32)) + quantization.zero_point
    entries: Array = np.clip(steps, -OFFSET, OFFSET - 1).astype(np.int8)
    return entries
