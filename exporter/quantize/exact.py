"""Scales that keep every exact result away from a tie, so that kernels round alike.

XNNPACK (fixed point with 20 bits and more, half up) and ONNX Runtime (float, half to even) can only
part where an exact result lies within their error of a tie:

- addition, with both inputs' scales as p / q of the output's and q odd, gives multiples of 1 / q
  steps: at least 1 / (2 q) away from every tie. q = 511 is far outside both kernels' error.
- product: s_a * s_b / s_out = p / q with q odd, likewise; so for a product of matrices.
- mean over N values, with s_in / (N * s_out) = 8 / odd, likewise; a sum has N = 1.
- interpolation and averages: weights are multiples of 1 / d for a d that follows from the sizes;
  s_out = s_in * odd / d gives multiples of 1 / odd.
- real numbers at the entrance: see `exporter.quantize.entrance`.
- a function of one value has 256 results: of the scales at hand, the one whose results lie farthest
  from their ties.

Where scales are settled already, as where both operands of an addition are products (x * sigmoid(x)
behind convolutions), the convolution's own moves along: nothing else asks anything of it.

Scales only grow, by at most half a percent: a range that was covered stays covered.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import GraphModule, Node

from exporter.graph.ties import (
    ADD_DENOMINATOR,
    FINE_ENOUGH,
    LARGEST_DENOMINATOR_OF_WEIGHTS,
    PRODUCT_DENOMINATORS,
    SMALLEST_NUMERATOR,
    TOLERANCE,
    next_odd,
    product_step,
    resize_denominator,
)
from exporter.quantize import roles
from exporter.quantize.edit import ATEN, argument, parameter_of, shape_of
from exporter.quantize.groups import Group, Plan
from exporter.quantize.scheme import ACTIVATION_MAX, ACTIVATION_MIN

LARGEST_DENOMINATOR = 1023
GROWTH = 0.005
CANDIDATES = 64
CHOICES = 3
"""Of the parts of a step that an operand may have: the least ones."""
SMALLEST_MARGIN = 1e-4
"""Steps. A function's result nearer to a tie is noted: float kernels err by about 1e-5."""


def make_exact(graph_module: GraphModule, plan: Plan, value: Node) -> None:
    """Move the scales around one value, in topological order, so that its operator is exact."""
    node: Any = value
    if value.target in roles.ACTIVATIONS and value.args[0] not in plan.group_of:
        node = value.args[0]
    if node.op != "call_function":
        return
    if roles.is_pointwise(node):
        _function(graph_module, plan, node)
    elif node.target in roles.ADDITIONS:
        _addition(graph_module, plan, node)
    elif node.target in roles.PRODUCTS | roles.MATRIX_PRODUCTS:
        _product(graph_module, plan, node)
    elif node.target in roles.MEANS:
        _mean(plan, node, roles.reduced_count(node))
    elif node.target in roles.SUMS:
        _mean(plan, node, 1)
    elif node.target in roles.INTERPOLATIONS:
        _interpolation(plan, node)


def _addition(graph_module: GraphModule, plan: Plan, node: Node) -> None:
    left, right = (plan.group_of[arg] for arg in node.args[:2])
    output = plan.quantized(node)
    if left is right is output:
        return
    # The kept side is the one whose scale is already settled, or else the shortcut, which is not
    # a convolution; the other side's scale can still move.
    kept, free = (left, right) if _settled(left) >= _settled(right) else (right, left)
    settled = output.locked or output in (left, right)
    tied = free.locked and free is not kept
    pairs = ((kept, free), (free, kept)) if tied and not settled else ()
    if any(_meet(graph_module, plan, node, *pair) for pair in pairs):
        return
    if tied or settled:
        plan.notes.append(f"{node.name}: the scales of an addition are all tied by other operators")
        return
    denominator = _denominator(kept, output)
    if denominator is None:
        plan.notes.append(f"{node.name}: the steps of an addition differ too much to be exact")
        return
    kept_part = max(1, math.floor(kept.step * denominator / output.step + TOLERANCE))
    output.set_scale(kept.step * denominator / kept_part)
    if free is not kept:
        free_part = math.ceil(free.step * denominator / output.step - TOLERANCE)
        free.set_scale(output.step * free_part / denominator)
    _lock(kept, free, output)


def _meet(graph_module: GraphModule, plan: Plan, node: Node, kept: Group, free: Group) -> bool:
    """Make an addition of two settled values exact, if `free` can move after all."""
    output = plan.quantized(node)
    if len(free.members) > 1 or free.fixed is not None or free.step > kept.step * ADD_DENOMINATOR:
        return False
    value = free.members[0]
    if any(user is not node and user.target not in roles.WEIGHTED for user in value.users):
        return False
    most = math.floor(kept.step * ADD_DENOMINATOR / output.step + TOLERANCE)
    steps = []
    for kept_part in range(max(1, most - 1), most + 1):
        step = kept.step * ADD_DENOMINATOR / kept_part
        least = math.ceil(free.step * ADD_DENOMINATOR / step - TOLERANCE)
        steps += [(step, step * part / ADD_DENOMINATOR) for part in range(least, least + CHOICES)]
    for step, wanted in sorted(steps, key=lambda pair: pair[0] * pair[1]):
        grown = max(step / output.step, wanted / free.step)
        if grown <= 1.0 + GROWTH and _move_value(graph_module, plan, value, wanted):
            output.set_scale(step)
            _lock(kept, free, output)
            return True
    return False


def _move_value(graph_module: GraphModule, plan: Plan, value: Node, step: float) -> bool:
    """Give a product another scale, and one of its operands with it: their ratio stays."""
    group = plan.group_of[value]
    if value.target not in roles.PRODUCTS or roles.is_pointwise(value):
        return False
    for operand in value.args[:2]:
        source = plan.group_of[operand]
        wanted = source.step * step / group.step
        if _may_move(source, value) and _move_operand(graph_module, plan, source, wanted):
            group.set_scale(step)
            return True
    return False


def _may_move(source: Group, product: Node) -> bool:
    """Whether only functions of one value, and this product, read what layers give."""
    if source.fixed is not None or any(m.target not in roles.WEIGHTED for m in source.members):
        return False
    users = [user for member in source.members for user in member.users]
    return all(user is product or roles.is_pointwise(user) for user in users)


def _move_operand(graph_module: GraphModule, plan: Plan, source: Group, step: float) -> bool:
    """Give a value another scale, unless a function of it would come near a tie."""
    before = source.step
    source.set_scale(step)
    for member in source.members:
        for user in filter(roles.is_pointwise, member.users):
            output = plan.quantized(user)
            results = function_results(graph_module, user, source)
            if margin(results, output, output.step) < SMALLEST_MARGIN:
                source.set_scale(before)
                return False
    return True


def _denominator(kept: Group, output: Group) -> int | None:
    """An odd number of parts of the output's step, of which the kept operand's is at least one.

    A step that is smaller yet grows to one part, where it is free to.
    """
    needed = math.ceil(output.step / kept.step - TOLERANCE)
    if needed <= ADD_DENOMINATOR:
        return ADD_DENOMINATOR
    if not kept.locked:
        kept.set_scale(output.step / ADD_DENOMINATOR)
        return ADD_DENOMINATOR
    return needed + 1 - needed % 2 if needed <= LARGEST_DENOMINATOR else None


def _settled(group: Group) -> int:
    """How firmly a group's scale is settled: 2 locked, 1 shared or no convolution's, 0 free."""
    if group.locked:
        return 2
    return 0 if group.members[0].target in roles.CONVOLUTIONS else 1


def _product(graph_module: GraphModule, plan: Plan, node: Node) -> None:
    left, right = (plan.group_of[arg] for arg in node.args[:2])
    output = plan.quantized(node)
    if output.locked or output in (left, right):
        if output in (left, right) or not _fit_operand(graph_module, plan, node):
            plan.notes.append(f"{node.name}: the scale of a product is tied by other operators")
        return
    step = left.step * right.step
    wanted = product_step(step, output.step)
    if wanted is not None:
        output.set_scale(wanted)
    _lock(left, right, output)


def _fit_operand(graph_module: GraphModule, plan: Plan, node: Node) -> bool:
    """Make a product whose result's scale is settled exact, if an operand can move."""
    groups = [plan.group_of[operand] for operand in node.args[:2]]
    wanted = plan.quantized(node).step
    for source, other in (groups, groups[::-1]):
        if source is other or not _may_move(source, node):
            continue
        for step in operand_steps(source.step, other.step, wanted):
            if _move_operand(graph_module, plan, source, step):
                _lock(source, other)
                return True
    return False


def operand_steps(step: float, other: float, result: float) -> list[float]:
    """The steps of an operand at which a product's exact results are multiples of 1 / odd.

    Args:
        step: the operand's; none is smaller, and none larger than `GROWTH` allows.
        other: the other operand's.
        result: the result's.
    """
    low, high = PRODUCT_DENOMINATORS
    found = set()
    for numerator in range(1, high):
        most = math.floor(result * numerator / (step * other) + TOLERANCE)
        odd = most - 1 + most % 2
        if low <= odd <= high:
            found.add(result * numerator / (odd * other))
    return sorted(one for one in found if one <= step * (1.0 + GROWTH))


def _mean(plan: Plan, node: Node, count: int) -> None:
    source, output = plan.group_of[node.args[0]], plan.quantized(node)
    if output.locked or source is output:
        plan.notes.append(f"{node.name}: the scale of a mean is tied by other operators")
        return
    odd = next_odd(output.step * count * SMALLEST_NUMERATOR / source.step)
    output.set_scale(source.step * odd / (count * SMALLEST_NUMERATOR))
    _lock(source, output)


def _interpolation(plan: Plan, node: Node) -> None:
    source, output = plan.group_of[node.args[0]], plan.quantized(node)
    if output.locked or source is output:
        plan.notes.append(f"{node.name}: the scale of an interpolation is tied by other operators")
        return
    parts = weight_denominator(node)
    if parts > LARGEST_DENOMINATOR_OF_WEIGHTS:
        plan.notes.append(f"{node.name}: its weights are multiples of 1/{parts}: too fine")
    output.low, output.high = source.low, source.high
    output.set_scale(interpolated_step(source.step, parts))
    _lock(source, output)


def interpolated_step(step: float, parts: int) -> float:
    """The output's step for weights that are multiples of 1 / parts: no result is near a tie."""
    parts *= math.ceil(FINE_ENOUGH / parts)
    return step * (parts + 1 + parts % 2) / parts


def weight_denominator(node: Node) -> int:
    """The number of which every weight of an interpolation or average is a fraction."""
    if node.target is ATEN.avg_pool2d.default:
        kernel = argument(node, 1)
        rows, columns = kernel[0], kernel[-1]
        return math.lcm(*(r * c for r in range(1, rows + 1) for c in range(1, columns + 1)))
    source, result = shape_of(node.args[0]), shape_of(node)
    return resize_denominator(source[2:], result[2:], aligned=bool(argument(node, 2, False)))


def _function(graph_module: GraphModule, plan: Plan, node: Node) -> None:
    value = next(arg for arg in node.args if isinstance(arg, Node))
    source, output = plan.group_of[value], plan.quantized(node)
    if source is output:
        return
    results = function_results(graph_module, node, source)
    if not output.locked:
        steps = [output.step * (1.0 + GROWTH * index / CANDIDATES) for index in range(CANDIDATES)]
        output.set_scale(max(steps, key=lambda step: margin(results, output, step)))
    found = margin(results, output, output.step)
    if found < SMALLEST_MARGIN and not source.locked:
        found = _move_source(graph_module, node, source, output)
    if found < SMALLEST_MARGIN:
        plan.notes.append(f"{node.name}: a result lies {found:.1g} steps from a tie")
    _lock(source, output)


def _move_source(graph_module: GraphModule, node: Node, source: Group, output: Group) -> float:
    """Move the input's scale where the output's cannot: a sigmoid's is fixed. The margin then."""
    margins = {}
    start = source.step
    for index in range(CANDIDATES):
        source.set_scale(start * (1.0 + GROWTH * index / CANDIDATES))
        results = function_results(graph_module, node, source)
        margins[source.step] = margin(results, output, output.step)
    source.set_scale(max(margins, key=margins.__getitem__))
    return margins[source.step]


@torch.no_grad()
def function_results(graph_module: GraphModule, node: Node, source: Group) -> torch.Tensor:
    """The function of every int8 input, float64 [256] or [256, channels]."""
    if source.scale is None:
        raise ValueError(f"{source.name} has no scale yet")
    integers = torch.arange(ACTIVATION_MIN, ACTIVATION_MAX + 1, dtype=torch.float64)
    values = (integers - source.scale.zero_point) * source.scale.scale
    arguments = []
    for position, given in enumerate(node.args):
        if not isinstance(given, Node):
            arguments.append(given)
        elif (parameter := parameter_of(graph_module, given)) is not None:
            arguments.append(parameter.double())
            if position == 1:  # PReLU's slopes
                values = values.unsqueeze(1).expand(-1, parameter.numel())
        else:
            arguments.append(None)
    filled = [values if given is None else given for given in arguments]
    result: torch.Tensor = node.target(*filled, **node.kwargs)
    return result


def margin(results: torch.Tensor, output: Group, step: float) -> float:
    """How near the nearest result lies to a tie, in steps; saturated results do not count."""
    zero_point = output.zero_point_at(step)
    integers = results / step + zero_point
    inside = integers[(integers > ACTIVATION_MIN - 0.75) & (integers < ACTIVATION_MAX + 0.75)]
    if not len(inside):
        return 0.5
    return float((inside - inside.floor() - 0.5).abs().min())


def _lock(*groups: Group) -> None:
    for group in groups:
        group.locked = True
