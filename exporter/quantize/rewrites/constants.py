"""Constant operands that other operators can take.

- A constant token before others (a class token) → zeros padded there, and a constant added.
- (x + a) + b → x + (a + b).
- x * c per channel → depthwise convolution.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.edit import (
    ATEN,
    BATCH,
    add_parameter,
    calls,
    insert,
    parameter_of,
    remove,
    shape_of,
)
from exporter.quantize.rewrites.affine import channel_affine


def lower_constants(graph_module: GraphModule) -> int:
    """Rewrite constants that are joined or multiplied; return how many."""
    joined = calls(graph_module, ATEN.cat.default)
    found = [_joined(graph_module, node) for node in joined]
    sums = calls(graph_module, ATEN.add.Tensor)
    merged = [_merged(graph_module, node) for node in sums]
    products = calls(graph_module, ATEN.mul.Tensor)
    scaled = [_scaled(graph_module, node) for node in products]
    return sum(found) + sum(merged) + sum(scaled)


def _joined(graph_module: GraphModule, node: Node) -> int:
    """cat([constant for each sample, x], axis) → pad(x) + constant padded the other way."""
    parts = list(node.args[0])
    constants = [_constant_for_each(graph_module, part) for part in parts]
    values = [index for index, constant in enumerate(constants) if constant is None]
    if len(values) != 1 or len(parts) == 1:
        return 0
    shape = shape_of(node)
    axis = (node.args[1] if len(node.args) > 1 else 0) % len(shape)
    own = values[0]
    source = parts[own]
    sizes = [shape_of(part)[axis] for part in parts]
    before, after = sum(sizes[:own]), sum(sizes[own + 1 :])
    pads = [0, 0] * (len(shape) - 1 - axis) + [before, after]
    padded = insert(graph_module, node, ATEN.pad.default, source, pads, shape=shape)
    filler = torch.zeros((1, *shape_of(source)[1:]))
    joined = torch.cat([filler if c is None else c for c in constants], axis)
    constant = add_parameter(graph_module, f"{node.name}_constant", joined, node)
    constant.meta["val"] = torch.empty(joined.shape, device="meta")
    total = insert(graph_module, node, ATEN.add.Tensor, padded, constant, shape=shape)
    remove(graph_module, node, total)
    return 1


def _merged(graph_module: GraphModule, node: Node) -> int:
    """(x + a) + b → x + (a + b) for constants a and b."""
    inner, outer = _with_constant(graph_module, node)
    if inner is None or inner.target is not ATEN.add.Tensor or len(inner.users) != 1:
        return 0
    source, first = _with_constant(graph_module, inner)
    if source is None:
        return 0
    constant = add_parameter(graph_module, f"{node.name}_constant", first + outer, node)
    constant.meta["val"] = torch.empty((first + outer).shape, device="meta")
    node.args = (source, constant)
    return 1


def _with_constant(graph_module: GraphModule, node: Node) -> tuple[Node | None, torch.Tensor]:
    """The computed operand of a sum, and the constant one; None where there is no such pair."""
    for source, other in (node.args[:2], node.args[1::-1]):
        constant = parameter_of(graph_module, other)
        if constant is not None and isinstance(source, Node) and source.op == "call_function":
            return source, constant.detach()
    return None, torch.empty(0)


def _constant_for_each(graph_module: GraphModule, node: Node) -> torch.Tensor | None:
    """[1, ...]: the parameter that is repeated for each sample; None for a computed value."""
    source = node.args[0] if node.target in (ATEN.expand.default, ATEN.repeat.default) else node
    constant = parameter_of(graph_module, source)
    if constant is None:
        return None
    shape = shape_of(node)
    repeated = shape[0] == BATCH and tuple(shape[1:]) == tuple(constant.shape[1:])
    return constant.detach() if repeated and len(constant) == 1 else None


def _scaled(graph_module: GraphModule, node: Node) -> int:
    """X [N, C, H, W] * c [C, 1, 1] → depthwise convolution with weight c."""
    for source, other in (node.args[:2], node.args[1::-1]):
        constant = parameter_of(graph_module, other)
        if constant is None or not isinstance(source, Node):
            continue
        shape = shape_of(source)
        padded = (1,) * (len(shape) - constant.dim()) + tuple(constant.shape)
        if len(shape) == 4 and padded == (1, shape[1], 1, 1):
            factor = constant.detach().flatten()
            remove(graph_module, node, channel_affine(graph_module, node, source, factor, None))
            return 1
    return 0
