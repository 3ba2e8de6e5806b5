"""Leave the batch of a model open, where its operators do.

Every rewrite works with fixed shapes. So a model is rewritten twice, for a batch of 1 and of 3:
where both have the same operators and constants, and only first axes grow, and by that factor, the
first one stands for any batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from exporter.errors import ModelError, UnsupportedError
from exporter.graph.onnx_edit import add_constant, constant
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.fixed_shapes import fixed_inputs

OPTION = "--dynamic-batch"
"""The command line's word for it."""
BATCH = "batch"
EXAMPLE = 3
_SIZES = {"Expand": 1, "Reshape": 1, "Resize": 3}
"""The inputs that hold the sizes of a result, among them the batch."""

Shapes = dict[str, tuple[int, ...]]


def shapes_of_two(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> tuple[Shapes, Shapes]:
    """The shapes of all inputs, as they are for a batch of 1 and of `EXAMPLE`.

    Args:
        model: as it came; it is left as it is.
        shapes: of inputs, by name; a first axis that is open in the model stays so.

    Raises:
        ModelError: the model has no open batch, or `shapes` do not fit.
    """
    model = model.clone()
    common.RemoveInitializersFromInputsPass()(model)
    opened = {value.name for value in model.graph.inputs if _is_open(value)}
    if not opened:
        raise ModelError(
            "the model has no open batch to keep",
            expected="an input whose first axis is a symbol",
            found="first axes of fixed sizes",
            remedy=f"export it with a dynamic first axis, or leave out {OPTION}",
        )
    fixed_inputs(model, shapes, Changes())
    one, more = {}, {}
    for value in model.graph.inputs:
        name, (first, *rest) = str(value.name), _sizes(value) or (1,)
        one[name] = (1 if name in opened else first, *rest)
        more[name] = (EXAMPLE if name in opened else first, *rest)
    return one, more


def leave_open(model: ir.Model, larger: ir.Model) -> None:
    """Make the batch a symbol, in place.

    Args:
        model: rewritten for a batch of 1.
        larger: the same for a batch of `EXAMPLE`.

    Raises:
        UnsupportedError: an operator for which another batch is another model.
    """
    nodes = list(zip(model.graph, larger.graph, strict=False))
    for node, other in nodes:
        _check(node, other)
    if len(model.graph) != len(larger.graph):
        raise _refusal(nodes[-1][0], "other operators follow it for another batch")
    for node, other in nodes:
        _open_sizes(model.graph, node, other)
    values = [*model.graph.inputs, *(value for node, _ in nodes for value in node.outputs)]
    others = [*larger.graph.inputs, *(value for _, node in nodes for value in node.outputs)]
    grown = [_grows(value, other) for value, other in zip(values, others, strict=True)]
    for value, grows in zip(values, grown, strict=True):
        if grows:
            first, *rest = _sizes(value)
            symbol = BATCH if first == 1 else f"{first}*{BATCH}"
            value.shape = ir.Shape([symbol, *rest])


def _is_open(value: ir.Value) -> bool:
    first = value.shape[0] if value.shape is not None and len(value.shape) else 1
    return not isinstance(first, int) or first < 1


def _sizes(value: ir.Value) -> tuple[int, ...]:
    """A shape; () where it is unknown or open."""
    sizes = [] if value.shape is None else list(value.shape)
    fixed = tuple(size for size in sizes if isinstance(size, int))
    return fixed if len(fixed) == len(sizes) else ()


def _grows(value: ir.Value, other: ir.Value) -> bool:
    """Whether the first axis grows with the batch, and nothing else does."""
    one, more = _sizes(value), _sizes(other)
    return bool(one) and one != more and more == (EXAMPLE * one[0], *one[1:])


def _check(node: ir.Node, other: ir.Node) -> None:
    if node.op_type != other.op_type or len(node.inputs) != len(other.inputs):
        raise _refusal(node, "another operator stands in its place for another batch")
    for value, grown in zip(node.outputs, other.outputs, strict=True):
        if _sizes(value) != _sizes(grown) and not _grows(value, grown):
            raise _refusal(node, "the batch is more than the first axis of its result")
    for index, (value, grown) in enumerate(zip(node.inputs, other.inputs, strict=True)):
        if _equal(value, grown):
            continue
        rest = _SIZES.get(node.op_type) == index and _grows(node.outputs[0], other.outputs[0])
        if not rest or not _grows(node.inputs[0], other.inputs[0]):
            raise _refusal(node, "one of its constants has the batch among its sizes")


def _equal(value: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two inputs are the same constant, or both computed."""
    one, more = constant(value), constant(other)
    if one is None or more is None:
        return one is more
    return one is more or np.array_equal(one, more, equal_nan=one.dtype.kind == "f")


def _open_sizes(graph: ir.Graph, node: ir.Node, other: ir.Node) -> None:
    """Let the sizes that a node is given say nothing of the batch."""
    index = _SIZES.get(node.op_type)
    if index is None or index >= len(node.inputs):
        return
    if _equal(node.inputs[index], other.inputs[index]):
        return
    rest = list(_sizes(node.outputs[0])[1:])
    sizes = {"Expand": [1, *rest], "Reshape": [-1, *rest], "Resize": rest}[node.op_type]
    if node.op_type == "Resize":
        axes = list(range(1, len(rest) + 1))
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
    name = f"{node.outputs[0].name}_of_any_batch"
    node.replace_input_with(index, add_constant(graph, name, np.array(sizes, np.int64)))


def _refusal(node: ir.Node, reason: str) -> UnsupportedError:
    remedy = f"leave out {OPTION}: the files then take one sample at a time"
    return UnsupportedError(
        str(node.name), node.op_type, f"its batch is not open: {reason}", remedy
    )
