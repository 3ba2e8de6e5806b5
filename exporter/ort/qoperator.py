"""Canonical QDQ → ONNX Runtime's integer operators (QLinearConv and its like), where it has them.

For runtimes and tools that read integer operators but do not fuse QDQ. In ONNX Runtime both give
the same integers. Operators that only move values work on the integers as they are; what has no
integer operator keeps its DequantizeLinear and QuantizeLinear.

Sources: ONNX's operator sets for QLinearConv and QLinearMatMul, ONNX Runtime's contributed
operators for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from exporter.graph.onnx_edit import required_constant
from exporter.graph.passes import clean
from exporter.ort import qdq

CONTRIBUTED = "com.microsoft"
MOVING = {
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "MaxPool",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}


@dataclass(frozen=True)
class _Form:
    """An integer operator: its name, its domain, and the attributes that it takes over."""

    name: str
    domain: str = CONTRIBUTED
    attributes: tuple[str, ...] = ()
    operands: int = 1


_FORMS = {
    "Add": _Form("QLinearAdd", operands=2),
    "Conv": _Form(
        "QLinearConv",
        "",
        ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
        2,
    ),
    "Gemm": _Form("QGemm", attributes=("alpha", "transA", "transB"), operands=2),
    "LeakyRelu": _Form("QLinearLeakyRelu", attributes=("alpha",)),
    "MatMul": _Form("QLinearMatMul", "", operands=2),
    "Mul": _Form("QLinearMul", operands=2),
    "Sigmoid": _Form("QLinearSigmoid"),
}


_OF_ONE_TYPE = {"Add", "Mul"}


def lower(canonical: ir.Model, *, unsigned: bool = True) -> ir.Model:
    """A copy of a canonical model with integer operators.

    Args:
        canonical: from `exporter.graph.canonical`.
        unsigned: uint8 activations; False keeps int8.
    """
    model = qdq.lower(canonical, unsigned=unsigned)
    for node in list(model.graph):
        if node.op_type in _FORMS:
            _to_integer_operator(model, node)
        elif node.op_type in MOVING:
            _onto_integers(model, node)
    model.graph.opset_imports.setdefault(CONTRIBUTED, 1)
    clean(model)
    return model


def _producer(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that gives a value; None for anything else."""
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _reader(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear that alone reads a node; None for anything else."""
    users = [user for user, _ in node.outputs[0].uses()]
    alone = len(users) == 1 and users[0].op_type == "QuantizeLinear"
    return users[0] if alone and not node.outputs[0].is_graph_output() else None


def _to_integer_operator(model: ir.Model, node: ir.Node) -> None:
    form, quantize = _FORMS[node.op_type], _reader(node)
    sources = [_producer(value) for value in node.inputs[: form.operands]]
    if quantize is None or any(source is None for source in sources):
        return
    if node.op_type in _OF_ONE_TYPE and not _one_type(sources):
        return
    operands = [value for source in sources if source is not None for value in source.inputs[:3]]
    bias = _producer(node.inputs[2]) if len(node.inputs) > 2 else None
    integers = [] if bias is None else [bias.inputs[0]]
    result = list(quantize.inputs[1:3])
    if node.op_type == "Gemm":
        inputs = [*operands, *(integers or [None]), *result]
    else:
        inputs = [*operands, *result, *integers]
    kept = {key: node.attributes[key] for key in form.attributes if key in node.attributes}
    replacement = ir.Node(
        form.domain, form.name, inputs, list(kept.values()), name=f"{node.name}/{form.name}"
    )
    _replace(model, quantize, replacement)


def _one_type(sources: list[ir.Node | None]) -> bool:
    """Whether all integers have one type: a constant stays int8 where activations become uint8."""
    types = {required_constant(source, 2).dtype for source in sources if source is not None}
    return len(types) == 1


def _onto_integers(model: ir.Model, node: ir.Node) -> None:
    """DequantizeLinear → move → QuantizeLinear with one scale: the move alone."""
    quantize = _reader(node)
    count = len(node.inputs) if node.op_type == "Concat" else 1
    sources = [_producer(value) for value in node.inputs[:count]]
    if quantize is None or any(source is None for source in sources):
        return
    if any(not _same_scale(source, quantize) for source in sources if source is not None):
        return
    others = list(node.inputs[count:])
    inputs = [source.inputs[0] for source in sources if source is not None]
    replacement = ir.Node(
        "",
        node.op_type,
        [*inputs, *others],
        list(node.attributes.values()),
        name=f"{node.name}/integers",
    )
    _replace(model, quantize, replacement)


def _same_scale(source: ir.Node, quantize: ir.Node) -> bool:
    pairs = ((required_constant(source, i), required_constant(quantize, i)) for i in (1, 2))
    return all(one.dtype == other.dtype and (one == other).all() for one, other in pairs)


def _replace(model: ir.Model, quantize: ir.Node, replacement: ir.Node) -> None:
    """Put an operator on integers where a QuantizeLinear gave them."""
    old, new = quantize.outputs[0], replacement.outputs[0]
    model.graph.insert_before(quantize, replacement)
    new.shape, new.type = old.shape, old.type
    name = old.name
    if old.is_graph_output():
        for index, value in enumerate(model.graph.outputs):
            if value is old:
                model.graph.outputs[index] = new
    old.replace_all_uses_with(new)
    model.graph.remove(quantize, safe=True)
    new.name = name
