"""Rarer spellings of an operator become the common one.

1. Sum of n, Max and Min of n ≠ 2 → a chain of two at a time.
2. Dropout, and Identity behind it, are gone: the model is not trained any more.
3. GlobalMaxPool → ReduceMax over height and width.
4. Gather of one position → Gather of a list of one, then Squeeze.
5. Squeeze, Unsqueeze, Flatten → Reshape, where shapes are known.
6. GroupNormalization → InstanceNormalization of [N, groups, values], factor and shift behind it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.graph.onnx_edit import add_constant, constant, insert_before
from exporter.graph.passes.changes import Changes

Rewrite = Callable[[ir.Graph, ir.Node], ir.Value | None]


def plain_operators(model: ir.Model, changes: Changes) -> bool:
    """Rewrite each; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        rewrite = _REWRITES.get(node.op_type)
        value = rewrite(model.graph, node) if rewrite is not None else None
        if value is None:
            continue
        replace_result(model.graph, node, value)
        changes.note(f"{node.op_type} is written in common operators", node.name)
        modified = True
    return modified


def replace_result(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let `value` stand for the node's first result, with its name, and remove the node."""
    old = node.outputs[0]
    name = old.name
    produced = value.producer() is not None and not value.is_graph_output()
    if old.is_graph_output() and not produced:
        value = insert_before(graph, node, "Identity", [value], f"{name}_same")
    old.name = f"{name}_before"
    if old.is_graph_output():
        value.name = name
    value.shape, value.dtype = old.shape, old.dtype
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _chain(kind: str) -> Rewrite:
    def rewrite(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
        values = [value for value in node.inputs if value is not None]
        if kind == node.op_type and len(values) == 2:
            return None
        total = values[0]
        for index, value in enumerate(values[1:]):
            name = f"{node.outputs[0].name}_{index}"
            total = insert_before(graph, node, kind, [total, value], name)
            total.shape, total.dtype = node.outputs[0].shape, node.outputs[0].dtype
        return total

    return rewrite


def _dropout(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    training = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if (training is not None and bool(training)) or any(v.uses() for v in node.outputs[1:]):
        return None
    return node.inputs[0]


def _global_max(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        return None
    name = str(node.outputs[0].name)
    axes = add_constant(graph, f"{name}_axes", np.arange(2, len(shape), dtype=np.int64))
    return insert_before(graph, node, "ReduceMax", [node.inputs[0], axes], f"{name}_largest")


def _gather(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    position = constant(node.inputs[1])
    source, result = node.inputs[0], node.outputs[0]
    if position is None or position.ndim or source is None or source.shape is None:
        return None
    axis_of = node.attributes.get("axis")
    axis = (0 if axis_of is None else int(axis_of.value)) % len(source.shape)
    name = str(result.name)
    places = add_constant(graph, f"{name}_places", position.reshape(1).astype(np.int64))
    picked = insert_before(
        graph, node, "Gather", [source, places], f"{name}_picked", {"axis": axis}
    )
    picked.shape = ir.Shape([1 if i == axis else n for i, n in enumerate(source.shape)])
    picked.dtype = result.dtype
    return _reshaped(graph, node, picked)


def _as_reshape(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    return None if node.inputs[0] is None else _reshaped(graph, node, node.inputs[0])


def _reshaped(graph: ir.Graph, node: ir.Node, value: ir.Value) -> ir.Value | None:
    result = node.outputs[0]
    if result.shape is None or not all(isinstance(size, int) for size in result.shape):
        return None
    sizes = np.array([int(size) for size in result.shape], np.int64)
    shape = add_constant(graph, f"{result.name}_shape", sizes)
    return insert_before(graph, node, "Reshape", [value, shape], f"{result.name}_reshaped")


def _group_norm(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    """With a factor and shift for each channel, as opset 21 has it; opset 18's was withdrawn."""
    source, result = node.inputs[0], node.outputs[0]
    factor, shift = (constant(value) for value in node.inputs[1:3])
    groups = int(node.attributes["num_groups"].value)
    shape = None if source is None else source.shape
    fixed = shape is not None and all(isinstance(size, int) for size in shape)
    if source is None or not fixed or shape is None or factor is None or shift is None:
        return None
    sizes = [int(size) for size in shape if isinstance(size, int)]
    name, channels = str(result.name), sizes[1]
    # ONNX's shape inference passes it by: it is a function of other operators.
    result.shape, result.dtype = source.shape, source.dtype
    apart = np.array([sizes[0], groups, np.prod(sizes[1:]) // groups], np.int64)
    units = [
        add_constant(graph, f"{name}_{key}", np.full(groups, value, np.float32))
        for key, value in (("ones", 1.0), ("zeros", 0.0))
    ]
    grouped = insert_before(
        graph,
        node,
        "Reshape",
        [source, add_constant(graph, f"{name}_groups", apart)],
        f"{name}_grouped",
    )
    kept = {"epsilon": node.attributes["epsilon"].value} if "epsilon" in node.attributes else {}
    normal = insert_before(
        graph, node, "InstanceNormalization", [grouped, *units], f"{name}_normal", kept
    )
    for value in (grouped, normal):
        value.shape, value.dtype = ir.Shape([int(size) for size in apart]), result.dtype
    wide = (1, channels, *(1,) * (len(sizes) - 2))
    value = _reshaped(graph, node, normal)
    for kind, operand in zip(("Mul", "Add"), (factor, shift), strict=True):
        if value is None:
            return None
        value.shape, value.dtype = result.shape, result.dtype
        other = add_constant(graph, f"{name}_{kind.lower()}", operand.reshape(wide).copy())
        value = insert_before(graph, node, kind, [value, other], f"{name}_{kind.lower()}ed")
    return value


REWRITTEN = {
    "Dropout": "nothing, as the model is not trained any more",
    "GlobalMaxPool": "ReduceMax over height and width",
    "GroupNormalization": "InstanceNormalization of groups, factor and shift behind it",
    "Sum": "Add, two at a time",
}
"""What becomes of the operators that have no lowering of their own."""

_REWRITES: dict[str, Rewrite] = {
    "Dropout": _dropout,
    "Flatten": _as_reshape,
    "Gather": _gather,
    "GlobalMaxPool": _global_max,
    "GroupNormalization": _group_norm,
    "Max": _chain("Max"),
    "Min": _chain("Min"),
    "Squeeze": _as_reshape,
    "Sum": _chain("Add"),
    "Unsqueeze": _as_reshape,
}
