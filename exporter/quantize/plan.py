"""The scale plan: which values get a scale, which share one, and what makes two runtimes agree.

A *value* is the node after which a tensor is quantized: a compute operator, or the activation
fused behind it. Values are joined into groups that share one scale. Then `assign` turns ranges
into scales so that no exact result of an addition or mean lies near a rounding tie, where XNNPACK
(20-bit multiplication, half up) and ONNX Runtime (float, half to even) would part:

- add, with both inputs' scales as p / q of the output's and q odd, gives multiples of 1 / q steps:
  at least 1 / (2 q) away from every tie. q = 511 is far outside both kernels' error.
- mean over N values, with s_in / (N * s_out) = 8 / odd, likewise.

Scales only grow, by at most half a percent: a range that was covered stays covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch.fx import GraphModule, Node

from exporter.quantize import roles
from exporter.quantize.scheme import ActivationScale, zero_point_for

ADD_DENOMINATOR = 511
MEAN_NUMERATOR = 8
TOLERANCE = 1e-9


@dataclass
class Group:
    """Values with one scale. `low` and `high` are their joint range, once it is known."""

    members: list[Node]
    fixed: ActivationScale | None = None
    low: float = 0.0
    high: float = 0.0
    scale: ActivationScale | None = None
    locked: bool = False

    @property
    def name(self) -> str:
        """The first member's name stands for the group."""
        return self.members[0].name

    def set_scale(self, scale: float) -> None:
        """Take this scale; the zero point follows from the range."""
        self.scale = ActivationScale.of(scale, zero_point_for(self.low, scale))


@dataclass
class Plan:
    """Every value of a graph, and the group that it belongs to.

    Attributes:
        groups: in topological order of their first member.
        group_of: value → its group.
        exact: whether the odd-denominator rules were applied.
        notes: places where a rule could not be met, by node name, for the certificate.
    """

    groups: list[Group]
    group_of: dict[Node, Group]
    exact: bool = True
    notes: list[str] = field(default_factory=list)

    def quantized(self, node: Node) -> Group:
        """The group of the value that a compute node's result becomes."""
        return self.group_of[value_of(node)]


def value_of(node: Node) -> Node:
    """The node after which `node`'s result is quantized: itself, or its fused activation."""
    users = list(node.users)
    fusable = node.target in roles.COMPUTE - roles.MEANS
    if fusable and len(users) == 1 and users[0].target in roles.ACTIVATIONS:
        return users[0]
    return node


def make_plan(graph_module: GraphModule, input_scale: ActivationScale | None = None) -> Plan:
    """Find the values of a captured, folded graph and group those that must share a scale.

    Args:
        graph_module: a graph of supported operators.
        input_scale: the input's scale where its integers are given (camera frames).

    Raises:
        UnsupportedError: an operator without an int8 form.
    """
    plan = Plan([], {})
    for node in graph_module.graph.nodes:
        if node.op == "placeholder":
            _add_group(plan, node, input_scale)
        elif node.op == "call_function":
            roles.check_supported(node)
            _plan_node(plan, node)
    return plan


def _plan_node(plan: Plan, node: Node) -> None:
    if node.target in roles.COMPUTE:
        if value_of(node) is node:
            _add_group(plan, node, None)
    elif node.target in roles.ACTIVATIONS:
        source = node.args[0]
        if source in plan.group_of:
            _join(plan, node, plan.group_of[source])
        else:
            _add_group(plan, node, None)
    elif node.target in roles.SHARE:
        _join(plan, node, plan.group_of[node.args[0]])
    else:
        _merge_all(plan, node)


def _add_group(plan: Plan, node: Node, fixed: ActivationScale | None) -> None:
    group = Group([node], fixed)
    plan.groups.append(group)
    plan.group_of[node] = group


def _join(plan: Plan, node: Node, group: Group) -> None:
    group.members.append(node)
    plan.group_of[node] = group


def _merge_all(plan: Plan, node: Node) -> None:
    sources = [plan.group_of[source] for source in node.args[0]]
    target = sources[0]
    for source in sources[1:]:
        if source is target:
            continue
        target.fixed = target.fixed or source.fixed
        target.members.extend(source.members)
        plan.groups.remove(source)
        plan.group_of.update(dict.fromkeys(source.members, target))
    _join(plan, node, target)


def assign(plan: Plan, ranges: dict[str, tuple[float, float]], *, exact: bool = True) -> None:
    """Turn the ranges of values into scales, in place.

    Args:
        plan: from `make_plan`.
        ranges: smallest and largest value by node name.
        exact: apply the odd-denominator rules.
    """
    plan.exact = exact
    plan.notes.clear()
    for group in plan.groups:
        _set_natural_scale(group, ranges)
    if not exact:
        return
    for group in list(plan.groups):
        for node in list(group.members):
            _make_exact(plan, node)


def _set_natural_scale(group: Group, ranges: dict[str, tuple[float, float]]) -> None:
    lows, highs = zip(*(ranges[node.name] for node in group.members), strict=True)
    group.low, group.high = min(0.0, *lows), max(0.0, *highs)
    clipped = [node for node in group.members if node.target in roles.ACTIVATIONS]
    if clipped and group.low == 0.0:
        # Zero becomes the smallest integer: saturation is the ReLU.
        group.high = min(group.high, max(roles.upper_limit(node) for node in clipped))
    group.locked = group.fixed is not None
    group.scale = group.fixed or ActivationScale.from_range(group.low, group.high)


def _make_exact(plan: Plan, value: Node) -> None:
    fused = value.target in roles.ACTIVATIONS and value.args[0] not in plan.group_of
    node: Any = value.args[0] if fused else value
    if node.target in roles.ADDITIONS:
        _exact_add(plan, node)
    elif node.target in roles.MEANS:
        _exact_mean(plan, node)


def _scale(group: Group) -> float:
    if group.scale is None:
        raise ValueError(f"group {group.name} has no scale yet")
    return group.scale.scale


def _exact_add(plan: Plan, node: Node) -> None:
    left, right = (plan.group_of[arg] for arg in node.args[:2])
    output = plan.quantized(node)
    if left is right is output:
        return
    # The kept side is the one whose scale is already settled, or else the shortcut, which is not
    # a convolution; the other side's scale can still move.
    kept, free = (left, right) if _settled(left) >= _settled(right) else (right, left)
    if (free.locked and free is not kept) or output.locked:
        plan.notes.append(f"{node.name}: the scales of an addition are all tied by other operators")
        return
    denominator = ADD_DENOMINATOR
    kept_part = max(1, math.floor(_scale(kept) * denominator / _scale(output) + TOLERANCE))
    output.set_scale(_scale(kept) * denominator / kept_part)
    if free is not kept:
        free_part = math.ceil(_scale(free) * denominator / _scale(output) - TOLERANCE)
        free.set_scale(_scale(output) * free_part / denominator)
    for group in (kept, free, output):
        group.locked = True


def _settled(group: Group) -> int:
    """How firmly a group's scale is settled: 2 locked, 1 shared or no convolution's, 0 free."""
    if group.locked:
        return 2
    return 0 if group.members[0].target in roles.CONVOLUTIONS else 1


def _exact_mean(plan: Plan, node: Node) -> None:
    source, output = plan.group_of[node.args[0]], plan.group_of[node]
    if output.locked or source is output:
        plan.notes.append(f"{node.name}: the scale of a mean is tied by other operators")
        return
    count = roles.spatial_size(node)
    odd = math.ceil(_scale(output) * count * MEAN_NUMERATOR / _scale(source))
    odd += 1 - odd % 2
    output.set_scale(_scale(source) * odd / (count * MEAN_NUMERATOR))
    source.locked = output.locked = True
