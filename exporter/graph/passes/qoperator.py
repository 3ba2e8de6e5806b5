"""ONNX Runtime's integer operators → the real operator between DequantizeLinear and QuantizeLinear.

QLinearConv(x, w) → QuantizeLinear(Conv(DequantizeLinear(x), DequantizeLinear(w))), and so on: what
they compute is defined so. Operators whose ranges are found while the model runs are refused.

Requires: scales and zero points are constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.graph import qdq
from exporter.graph.intake import CONTRIBUTED
from exporter.graph.onnx_edit import constant
from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import Parameters


@dataclass(frozen=True)
class Form:
    """What an integer operator stands for.

    Attributes:
        kind: the real operator.
        operands: positions of the data inputs; scale and zero point follow each.
        result: position of the result's scale; its zero point follows.
        bias: position of an int32 bias whose scale is the product of the operands'.
        attributes: those that are not the real operator's, with the only value that is taken.
    """

    kind: str
    operands: tuple[int, ...] = (0,)
    result: int = 3
    bias: int | None = None
    attributes: dict[str, int] = field(default_factory=dict)


FORMS = {
    "QGemm": Form("Gemm", (0, 3), 7, bias=6),
    "QLinearAdd": Form("Add", (0, 3), 6),
    "QLinearAveragePool": Form("AveragePool", attributes={"channels_last": 0}),
    "QLinearConcat": Form("Concat", (), 0),
    "QLinearConv": Form("Conv", (0, 3), 6, bias=8),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", attributes={"channels_last": 0}),
    "QLinearLeakyRelu": Form("LeakyRelu"),
    "QLinearMatMul": Form("MatMul", (0, 3), 6),
    "QLinearMul": Form("Mul", (0, 3), 6),
    "QLinearReduceMean": Form("ReduceMean"),
    "QLinearSigmoid": Form("Sigmoid"),
    "QLinearSoftmax": Form("Softmax"),
}
REFUSED = {
    "ConvInteger": "its result is never quantized: ranges are found while the model runs",
    "DynamicQuantizeLinear": "it finds its scale while the model runs",
    "DynamicQuantizeMatMul": "it finds its scale while the model runs",
    "MatMulInteger": "its result is never quantized: ranges are found while the model runs",
    "MatMulIntegerToFloat": "its input is quantized while the model runs",
}


def qoperator(model: ir.Model, changes: Changes) -> bool:
    """Rewrite every integer operator; return whether anything changed.

    Raises:
        UnsupportedError: one that has no such form.
    """
    modified = False
    for node in list(model.graph):
        if node.op_type in REFUSED:
            raise UnsupportedError(
                str(node.name),
                node.op_type,
                REFUSED[node.op_type],
                "quantize the model statically (quantize_static in place of quantize_dynamic)",
            )
        if node.domain == CONTRIBUTED and node.op_type == "Gelu":
            node.domain = ""
        if node.op_type not in FORMS:
            _check_contributed(node)
            continue
        _rewrite(model.graph, node, FORMS[node.op_type])
        changes.note(f"{node.op_type} becomes {FORMS[node.op_type].kind} in QDQ form", node.name)
        modified = True
    return modified


def _check_contributed(node: ir.Node) -> None:
    if node.domain == CONTRIBUTED and node.op_type not in (qdq.QUANTIZE, qdq.DEQUANTIZE):
        raise UnsupportedError(
            str(node.name),
            node.op_type,
            "it belongs to ONNX Runtime alone: no other runtime computes it",
            "export the model before ONNX Runtime optimizes it",
        )


def _rewrite(graph: ir.Graph, node: ir.Node, form: Form) -> None:
    operands = form.operands or tuple(range(2, len(node.inputs), 3))
    inputs = [_operand(graph, node, position) for position in operands]
    if form.bias is not None and len(node.inputs) > form.bias and node.inputs[form.bias]:
        inputs.append(_bias(graph, node, form))
    name = str(node.outputs[0].name)
    real = ir.node(
        form.kind, inputs, attributes=_attributes(node, form), name=str(node.name or name)
    )
    real.outputs[0].name = f"{name}_real"
    real.outputs[0].dtype = ir.DataType.FLOAT
    graph.insert_before(node, real)
    if len(node.inputs) <= form.result or node.inputs[form.result] is None:
        _replace(graph, node, real.outputs[0], name)
        return
    parameters = _parameters(node, form.result)
    integers = qdq.quantize(graph, node, real.outputs[0], parameters, f"{name}_integers")
    _replace(graph, node, integers, name)


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value, name: str) -> None:
    old = node.outputs[0]
    old.name = f"{name}_before"
    value.name, value.shape = name, old.shape
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _operand(graph: ir.Graph, node: ir.Node, position: int) -> ir.Value:
    value = node.inputs[position]
    if value is None:
        raise UnsupportedError(
            str(node.name), node.op_type, f"input {position} is missing", "export it again"
        )
    axis = _channel_axis(node, position)
    parameters = _parameters(node, position + 1, axis)
    return qdq.dequantize(graph, node, value, parameters, f"{node.outputs[0].name}_in{position}")


def _channel_axis(node: ir.Node, position: int) -> int:
    """The axis of a weight's output channels."""
    if node.op_type == "QLinearConv":
        return 0
    transposed = node.attributes.get("transB")
    if node.op_type == "QGemm" and transposed is not None and transposed.value:
        return 0
    data = constant(node.inputs[position])
    return 1 if data is None else data.ndim - 1


def _parameters(node: ir.Node, position: int, axis: int = 1) -> Parameters:
    scale = constant(node.inputs[position])
    value = node.inputs[position + 1] if len(node.inputs) > position + 1 else None
    point = np.zeros((), np.uint8) if value is None else constant(value)
    if scale is None or point is None:
        raise UnsupportedError(
            str(node.name),
            node.op_type,
            "a scale or zero point is computed while the model runs",
            "quantize the model statically, with calibrated scales",
        )
    if scale.size == 1:
        return Parameters(scale.astype(np.float32).reshape(()), point.reshape(-1)[0])
    return Parameters(
        scale.astype(np.float32).reshape(-1),
        np.broadcast_to(point.reshape(-1), (scale.size,)).copy(),
        axis,
    )


def _bias(graph: ir.Graph, node: ir.Node, form: Form) -> ir.Value:
    scales = [_parameters(node, position + 1).scale for position in form.operands]
    alpha = node.attributes.get("alpha")
    product = np.asarray(1.0 if alpha is None else alpha.value, np.float64)
    for scale in scales:
        product = product * scale.astype(np.float64)
    scale = np.asarray(product, np.float32)
    axis = 0 if scale.ndim else None
    parameters = Parameters(scale, np.zeros(scale.shape, np.int32), axis)
    value = node.inputs[form.bias]
    return qdq.dequantize(graph, node, value, parameters, f"{node.outputs[0].name}_bias")


def _attributes(node: ir.Node, form: Form) -> dict[str, ir.Attr]:
    attributes = dict(node.attributes)
    for name, only in form.attributes.items():
        attribute = attributes.pop(name, None)
        if attribute is not None and attribute.value != only:
            raise UnsupportedError(
                str(node.name),
                node.op_type,
                f"its {name} is {attribute.value}",
                f"export the model with {name} = {only}",
            )
    special = _SPECIAL.get(node.op_type)
    return attributes if special is None else special(node, attributes)


def _softmax(node: ir.Node, attributes: dict[str, ir.Attr]) -> dict[str, ir.Attr]:
    """Before opset 13, a softmax went over all axes from its own on."""
    opset = attributes.pop("opset", None)
    shape, axis = node.inputs[0].shape, attributes.get("axis")
    old = opset is not None and opset.value < 13
    if old and shape is not None and axis is not None and axis.value % len(shape) < len(shape) - 1:
        raise UnsupportedError(
            str(node.name), node.op_type, "it goes over several axes", "export with opset 13"
        )
    return attributes if axis is not None or not old else {"axis": ir.AttrInt64("axis", -1)}


_SPECIAL: dict[str, Callable[[ir.Node, dict[str, ir.Attr]], dict[str, ir.Attr]]] = {
    "QLinearSoftmax": _softmax,
}
