"""Compute what depends on constants and fixed shapes alone, with onnxscript's own folding.

Quantization operators stay, and so does whatever would grow, or be too much in all: a hostile model
can ask for terabytes in a few bytes.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import onnx_ir as ir

from exporter.errors import ModelError
from exporter.graph.onnx_edit import add_constant, constant

MAX_VALUES = 2**26
"""How many values a folded constant may have."""
MAX_IN_ALL = 4 * MAX_VALUES
"""And those of one model together, which include weights that are written as filled shapes."""
SMALL = 4096
"""Values of unknown shape are folded where they come from fewer than these."""
_GROWING = {"ConstantOfShape", "EyeLike", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile"}
_KEPT = {"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"}


class Budget:
    """How many values may still be computed for a model."""

    def __init__(self, values: int = MAX_IN_ALL) -> None:
        self.left = values

    def take(self, count: int) -> bool:
        """Take so many, if they are left."""
        fits = count <= self.left
        self.left -= count if fits else 0
        return fits


def folded_constants(model: ir.Model, budget: Budget) -> bool:
    """Fold constants and shape arithmetic in place; return whether anything changed.

    Args:
        model: changed in place.
        budget: of the model, whose constants may be folded in several rounds.

    Raises:
        ModelError: filled shapes that are too large.
    """
    from onnxscript import optimizer

    modified = _filled(model, budget)
    result = optimizer.fold_constants(
        model,
        onnx_shape_inference=True,
        input_size_limit=4 * MAX_VALUES,
        output_size_limit=4 * MAX_VALUES,
        should_fold=partial(_should_fold, budget),
    )
    return bool(result.modified) or modified


def _should_fold(budget: Budget, node: ir.Node) -> bool | None:
    if node.op_type in _KEPT or node.domain not in ("", "ai.onnx"):
        return False
    sizes = [_count(value) for value in node.outputs]
    if any(size is not None and size > MAX_VALUES for size in sizes):
        return False
    if any(size is None for size in sizes):
        given = [array for value in node.inputs if (array := constant(value)) is not None]
        if node.op_type in _GROWING or sum(array.size for array in given) > SMALL:
            return False
    computed = all(value is None or constant(value) is not None for value in node.inputs)
    if computed and not budget.take(sum(size or 0 for size in sizes)):
        return False
    return None


def _count(value: ir.Value) -> int | None:
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        return None
    return math.prod(int(size) for size in value.shape)


def _filled(model: ir.Model, budget: Budget) -> bool:
    """ConstantOfShape with a constant shape becomes a constant.

    Raises:
        ModelError: one that is too large, with those before it.
    """
    modified = False
    for node in list(model.graph):
        shape = constant(node.inputs[0]) if node.op_type == "ConstantOfShape" else None
        if shape is None or node.outputs[0].is_graph_output():
            continue
        sizes = [int(size) for size in shape.flatten()]
        if min(sizes, default=1) < 0 or not budget.take(math.prod(sizes)):
            raise ModelError(
                f"ConstantOfShape '{node.name}' is too large",
                expected=f"up to {MAX_IN_ALL} values in all of the model",
                found=f"{'x'.join(map(str, sizes))}, where {budget.left} values are left",
                remedy="export the model again with the shape that it needs",
            )
        fill = node.attributes.get("value")
        value = np.zeros(1, np.float32) if fill is None else fill.value.numpy()
        data = np.full(sizes, value.flat[0], value.dtype)
        name = str(node.outputs[0].name)
        node.outputs[0].name = f"{name}_computed"
        node.outputs[0].replace_all_uses_with(add_constant(model.graph, name, data))
        model.graph.remove(node, safe=True)
        modified = True
    return modified
