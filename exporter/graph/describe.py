"""What an ONNX model is made of, before anything is changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from exporter.graph.intake import STANDARD
from exporter.graph.passes.qoperator import FORMS

_QDQ = {"DequantizeLinear", "QuantizeLinear"}
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_INTEGER_WEIGHTED = {"QGemm": 3, "QLinearConv": 3, "QLinearMatMul": 3}


def opset_of(proto: Any) -> int:
    """The opset of the standard operators."""
    return next((int(o.version) for o in proto.opset_import if o.domain in STANDARD), 0)


def producer_of(proto: Any) -> str:
    """The tool that wrote it, as it says."""
    return f"{proto.producer_name} {proto.producer_version}".strip() or "unknown"


def operators_of(proto: Any) -> dict[str, int]:
    """How many operators of each kind, the most frequent first."""
    return dict(Counter(node.op_type for node in proto.graph.node).most_common())


def quantization_of(proto: Any) -> str:
    """The form in which a model is quantized."""
    kinds = {node.op_type for node in proto.graph.node}
    forms = [name for name, own in (("QDQ", _QDQ), ("QOperator", set(FORMS))) if kinds & own]
    if forms == ["QDQ", "QOperator"] and not _feeds_real_operators(proto):
        return "QOperator"
    return " and ".join(forms) or "none"


def _feeds_real_operators(proto: Any) -> bool:
    """Whether a weighted operator reads a DequantizeLinear: QDQ form, not a mere boundary."""
    real = {n.output[0] for n in proto.graph.node if n.op_type == "DequantizeLinear" and n.output}
    return any(node.op_type in _WEIGHTED and set(node.input) & real for node in proto.graph.node)


def integer_types(proto: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The types of the activations' integers, and of the weights' with "per channel" or not."""
    from onnx import helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}

    def dtype(name: str) -> str:
        tensor = constants.get(name)
        return (
            ""
            if tensor is None
            else np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).name
        )

    def channels(name: str) -> str:
        tensor = constants.get(name)
        return "per channel" if tensor is not None and np.prod(tensor.dims) > 1 else "per tensor"

    producers = {name: node for node in proto.graph.node for name in node.output}
    activations = {
        dtype(node.input[2])
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
        and len(node.input) > 2
        and node.input[0] not in constants
    }
    weights = set()
    for node in proto.graph.node:
        place = _INTEGER_WEIGHTED.get(node.op_type)
        if place is not None and len(node.input) > place + 1 and node.input[place] in constants:
            weights.add(f"{dtype(node.input[place])} {channels(node.input[place + 1])}")
        source = producers.get(node.input[1]) if len(node.input) > 1 else None
        if (
            node.op_type in _WEIGHTED
            and source is not None
            and source.op_type == ("DequantizeLinear")
        ):
            kind = dtype(source.input[2]) if len(source.input) > 2 else dtype(source.input[0])
            weights.add(f"{kind} {channels(source.input[1])}")
    return tuple(sorted(filter(None, activations))), tuple(sorted(weights))
