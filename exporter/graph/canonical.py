"""The invariants of the canonical graph, checked by code.

1. Every value between the graph's inputs and outputs is int8 with a scale (on request int16 with
   zero point 0), but for those between two layers that stay float on request; these layers are
   named in the model's properties. Of int8 and int16 an operator computes in one, and a Quantize
   stands where a value changes from one to the other.
2. Weights: int8, one scale per output channel (or one for all), integers in [-127, 127], zero point
   0. Biases: int32, scale = input scale * weight scale, zero point 0.
3. Activations: int8 or int16, per tensor. Pooling, reshape and concat share the scale of their
   inputs.
4. No batch normalization, dropout or identity is left, and shapes are fixed except for the batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exporter.errors import CanonicalError
from exporter.graph import passes
from exporter.graph.islands import float_layers, is_float_layer
from exporter.graph.model import Graph, Operator, Quantization, Tensor, bias_scale
from exporter.graph.read import FLOAT_LAYERS, read

SHARING = {
    "Clip",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Max",
    "MaxPool",
    "Min",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Relu6",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Transpose",
    "Unsqueeze",
}
JOINING = {"Concat", "Max", "Min"}
FORBIDDEN = {"BatchNormalization", "Dropout", "Identity", "Constant"}
BOUNDARY = {"Quantize", "Dequantize"}


def canonicalise(
    model: ir.Model,
    *,
    dtype: str,
    integer_outputs: bool,
    kept_float: Sequence[str] = (),
    frame_zero_point: int | None = None,
) -> Graph:
    """Bring a QDQ model to the canonical form, in place, and check it.

    Args:
        model: as `torch.onnx.export` gives it.
        dtype: "uint8" or "int8" lets it take frames [N, H, W, C]; "float32" leaves its input.
        integer_outputs: let it give int8 in place of floats.
        kept_float: names of the weights of layers that stay float.
        frame_zero_point: of the frames. None where it is that of the values behind them, in the
            other type: so it is in int8, and not in int16.

    Raises:
        CanonicalError: an invariant that no pass can establish; every violation is listed.
    """
    if kept_float:
        model.metadata_props[FLOAT_LAYERS] = json.dumps(sorted(kept_float))
    passes.clean(model)
    passes.quantized_constants(model)
    passes.pool_padding(model)
    passes.integer_bias(model)
    if dtype != "float32":
        passes.frame_input(model, signed=dtype == "int8", zero_point=frame_zero_point)
    if integer_outputs:
        passes.integer_output(model)
    passes.clean(model)
    passes.wide_opset(model)
    graph = read(model)
    check(graph)
    return graph


def check(graph: Graph) -> None:
    """Check the invariants.

    Raises:
        CanonicalError: lists every violation, by node or tensor.
    """
    found = violations(graph)
    if found:
        raise CanonicalError(
            f"the graph is not canonical: {len(found)} violation(s)",
            found="\n            ".join(found[:20]),
            remedy="quantize the model with edgewright, or see the canonical form in the docs",
        )


def violations(graph: Graph) -> list[str]:
    """What breaks an invariant, one line each."""
    found = [
        f"the layer of '{name}', which is to stay float, is not there"
        for name in sorted(graph.float_layers - {o.inputs[1] for o in float_layers(graph)})
    ]
    interface = {*graph.inputs, *graph.outputs}
    allowed = {operator.outputs[0] for operator in float_layers(graph)}
    for tensor in graph.tensors.values():
        if tensor.data is None:
            found += _activation_violations(tensor, tensor.name in interface | allowed)
    for operator in graph.operators:
        if operator.kind in FORBIDDEN:
            found.append(f"{operator.kind} '{operator.name}' should be folded away")
        if operator.kind in ("Conv", "Gemm") and not is_float_layer(graph, operator):
            found += _weight_violations(graph, operator)
        if operator.kind not in BOUNDARY and not is_float_layer(graph, operator):
            found += _type_violations(graph, operator)
        if operator.kind in SHARING:
            found += _sharing_violations(graph, operator)
    return found


def _activation_violations(tensor: Tensor, interface: bool) -> list[str]:
    if tensor.dtype == np.float32:
        return [] if interface else [f"'{tensor.name}' is left in float"]
    if tensor.dtype in (np.int32, np.int64) and tensor.quantization is None:
        return []  # positions and plain integers have no scale
    if tensor.quantization is None:
        return [f"'{tensor.name}' has integers without a scale"]
    if tensor.quantization.scale.ndim:
        return [f"'{tensor.name}' is an activation with a scale for each channel"]
    if tensor.dtype == np.int16 and tensor.quantization.zero_point != 0:
        return [f"'{tensor.name}' is int16 with a zero point that is not 0"]
    fits = tensor.dtype in (np.int8, np.int16) or interface
    return [] if fits else [f"'{tensor.name}' is {tensor.dtype}, not int8"]


def _type_violations(graph: Graph, operator: Operator) -> list[str]:
    tensors = [graph.tensors[name] for name in (*operator.inputs, *operator.outputs) if name]
    kinds = {tensor.dtype.name for tensor in tensors if tensor.data is None and tensor.quantization}
    if {"int8", "int16"} <= kinds:
        return [f"{operator.kind} '{operator.name}' mixes int8 and int16 values"]
    return []


def _weight_violations(graph: Graph, operator: Operator) -> list[str]:
    name = f"{operator.kind} '{operator.name}'"
    weight = graph.tensors[operator.inputs[1]]
    if weight.data is None or weight.quantization is None or weight.dtype != np.int8:
        return [f"the weight of {name} is not a quantized int8 constant"]
    found = []
    if weight.quantization.zero_point != 0:
        found.append(f"the weight of {name} has zero point {weight.quantization.zero_point}")
    if weight.data.min(initial=0) < -127:
        found.append(f"the weight of {name} holds -128, outside [-127, 127]")
    if weight.quantization.scale.ndim and weight.quantization.axis != 0:
        found.append(f"the weight of {name} has scales along axis {weight.quantization.axis}")
    if len(operator.inputs) > 2 and operator.inputs[2]:
        found += _bias_violations(graph, operator, weight.quantization)
    return found


def _bias_violations(graph: Graph, operator: Operator, weight: Quantization) -> list[str]:
    name = f"the bias of {operator.kind} '{operator.name}'"
    bias = graph.tensors[operator.inputs[2]]
    data = graph.tensors[operator.inputs[0]].quantization
    if bias.quantization is None or bias.dtype != np.int32 or data is None:
        return [f"{name} is not int32"]
    expected = bias_scale(data, weight)
    if bias.quantization.zero_point != 0 or not np.array_equal(bias.quantization.scale, expected):
        return [f"{name} has another scale than input scale * weight scale"]
    return []


def _scaled(graph: Graph, name: str) -> bool:
    return graph.tensors[name].quantization is not None


def _sharing_violations(graph: Graph, operator: Operator) -> list[str]:
    first = next((name for name in operator.outputs if name), "")
    if not first or (graph.tensors[first].dtype.kind == "i" and not _scaled(graph, first)):
        return []
    output = graph.tensors[first].quantization
    names = operator.inputs if operator.kind in JOINING else operator.inputs[:1]
    sources = [graph.tensors[name] for name in names if name]
    return [
        f"{operator.kind} '{operator.name}' changes the scale of '{source.name}'"
        for source in sources
        if (source.data is None or source.quantization is not None)
        and (source.quantization is None or not source.quantization.same_as(output))
    ]
