"""Operators that choose, move or repeat values and compute nothing.

Rounding to a grid never changes the order of values, so quantizing before such an operator and
after it give the same integers.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from exporter.graph.onnx_edit import clip_limits, constant
from exporter.graph.qdq import Parameters

SELECTING = {
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GlobalMaxPool",
    "Identity",
    "Max",
    "MaxPool",
    "Min",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
JOINING = {"Concat", "Max", "Min"}


def selects(node: ir.Node) -> bool:
    """Whether a node only selects among its input's values (or zero, which every grid has).

    Padding with another constant than zero, and clipping, select among the grid's values only
    after that constant is rounded, which is what quantizing afterwards does as well.
    """
    if node.op_type in SELECTING or node.op_type == "Clip":
        return True
    if node.op_type != "Resize":
        return False
    mode = node.attributes.get("mode")
    return mode is None or mode.value == "nearest"


def selects_on_grid(node: ir.Node, parameters: Parameters) -> bool:
    """Whether values on a grid stay on it: so with every constant that a node brings in."""
    if not selects(node):
        return False
    constants = []
    if node.op_type == "Clip":
        constants = [limit for limit in clip_limits(node) if abs(limit) < 3e38]
    elif node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
        value = constant(node.inputs[2])
        if value is None:
            return False
        constants = [float(value)]
    steps = [limit / float(parameters.scale) for limit in constants]
    return all(math.isfinite(step) and abs(step - round(step)) < 1e-6 for step in steps)


def data_inputs(node: ir.Node) -> list[int]:
    """The positions of the inputs whose values a selecting node hands on."""
    if node.op_type in JOINING:
        return [index for index, value in enumerate(node.inputs) if value is not None]
    return [0]
