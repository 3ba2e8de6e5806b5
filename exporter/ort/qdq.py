"""Canonical QDQ → the QDQ that ONNX Runtime turns into integer kernels.

- Activations become uint8 (zero point + 128): on x86, kernels for uint8 * int8 are twice as fast as
  those for int8 * int8.
- A Relu or Clip that the following QuantizeLinear's saturation implies is dropped, so that every
  convolution, addition and matrix product becomes one integer kernel.
- A DequantizeLinear → QuantizeLinear pair that changes nothing is dropped.
- A layer that stays float on request reads its input through a Sum of one operand. ONNX Runtime
  (1.32) quantizes the float weights of a layer behind a DequantizeLinear by itself and without a
  word; through the Sum it leaves them alone.
"""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir

from exporter.graph.onnx_edit import (
    add_constant,
    constant,
    implied_by_quantization,
    insert_before,
    required_constant,
)
from exporter.graph.passes import clean
from exporter.graph.read import FLOAT_LAYERS

ZERO_POINT_SHIFT = 128


def lower(canonical: ir.Model, *, unsigned: bool = True) -> ir.Model:
    """A copy of a canonical model in the form for ONNX Runtime.

    Args:
        canonical: from `exporter.graph.canonical`.
        unsigned: uint8 activations (x86, and any CPU); False keeps int8 (.ort files for ARM).
    """
    model = canonical.clone()
    drop_implied_activations(model)
    if unsigned:
        _to_unsigned(model)
    _drop_identical_pairs(model)
    clean(model)
    _keep_float_layers(model)
    return model


def _keep_float_layers(model: ir.Model) -> None:
    kept = json.loads(model.metadata_props.get(FLOAT_LAYERS, "[]"))
    for node in list(model.graph) if kept else ():
        weight = node.inputs[1] if node.op_type in ("Conv", "Gemm") else None
        if weight is None or weight.name not in kept:
            continue
        source = node.inputs[0]
        producer = None if source is None else source.producer()
        if source is not None and producer is not None and producer.op_type == "DequantizeLinear":
            own = insert_before(model.graph, node, "Sum", [source], f"{node.name}_as_it_is")
            own.shape, own.dtype = source.shape, source.dtype
            node.replace_input_with(0, own)


def drop_implied_activations(model: ir.Model) -> int:
    """Remove each Relu or Clip whose effect the next QuantizeLinear has anyway; return how many."""
    dropped = 0
    for node in list(model.graph):
        if node.op_type in ("Relu", "Clip") and implied_by_quantization(node):
            node.outputs[0].replace_all_uses_with(node.inputs[0])
            model.graph.remove(node, safe=True)
            dropped += 1
    return dropped


def _to_unsigned(model: ir.Model) -> None:
    for node in list(model.graph):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        point = node.inputs[2]
        value = constant(point)
        if value is None or value.dtype != np.int8 or constant(node.inputs[0]) is not None:
            continue
        if node.op_type == "DequantizeLinear" and _is_input(model, node.inputs[0]):
            continue
        shifted = np.asarray(value.astype(np.int16) + ZERO_POINT_SHIFT, np.uint8)
        name = f"zero_point_{int(shifted.flat[0])}_uint8"
        known = model.graph.initializers.get(name)
        node.replace_input_with(2, known or add_constant(model.graph, name, shifted))
        if node.op_type == "QuantizeLinear":
            node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
            node.attributes.pop("output_dtype", None)


def _is_input(model: ir.Model, value: ir.Value) -> bool:
    """Whether a value is a graph input, or one brought to NCHW: its type is the user's."""
    producer = value.producer()
    source = (
        producer.inputs[0] if producer is not None and producer.op_type == "Transpose" else value
    )
    return any(source is graph_input for graph_input in model.graph.inputs)


def _drop_identical_pairs(model: ir.Model) -> None:
    for node in list(model.graph):
        source = node.inputs[0].producer() if node.op_type == "QuantizeLinear" else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        same = all(
            np.array_equal(required_constant(node, i), required_constant(source, i))
            and required_constant(node, i).dtype == required_constant(source, i).dtype
            for i in (1, 2)
        )
        if same and node.outputs[0] not in model.graph.outputs:
            node.outputs[0].replace_all_uses_with(source.inputs[0])
            model.graph.remove(node, safe=True)
