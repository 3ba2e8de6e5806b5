"""Which values get a scale, which share one, and the scales that make both runtimes agree."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch.fx import GraphModule, Node

from exporter.build import Activations
from exporter.quantize import roles
from exporter.quantize.edit import ATEN, finish_edit, parameter_of
from exporter.quantize.entrance import agreeing_scale
from exporter.quantize.exact import make_exact
from exporter.quantize.groups import Group, Plan, value_of
from exporter.quantize.scheme import ActivationScale
from exporter.quantize.wide_layers import set_wide_scales, widen

__all__ = ["Group", "Plan", "assign", "make_plan", "value_of"]

_OWN_PARAMETERS: dict[Any, tuple[int, ...]] = {
    **dict.fromkeys(roles.WEIGHTED, (1, 2)),
    ATEN.prelu.default: (1,),
    ATEN.instance_norm.default: (1, 2, 3, 4),
    ATEN.layer_norm.default: (2, 3),
    ATEN.index_select.default: (2,),
}
"""Which arguments are parameters of the operator itself, and so no values with a scale."""


def make_plan(
    graph_module: GraphModule,
    input_scale: ActivationScale | None = None,
    float_weights: Collection[str] = (),
    activations: Activations = "int8",
    wide_weights: Collection[str] = (),
) -> Plan:
    """Find the values of a captured, folded graph and group those that must share a scale.

    Args:
        graph_module: a graph of supported operators. A requantization is put in where a value with
            a fixed scale must share it with others, and where int8 meets int16.
        input_scale: the input's scale where its integers are given (camera frames).
        float_weights: names of the weights of layers that stay float. A value between two of them
            gets no scale.
        activations: the type of all values.
        wide_weights: names of the weights of layers whose results stay int16 all the same.

    Raises:
        UnsupportedError: an operator without an int8 form.
    """
    if input_scale is not None and activations == "int16":
        input_scale = ActivationScale.of(input_scale.scale, 0, activations)
    widened = widen(graph_module, wide_weights, float_weights)
    _separate_fixed(graph_module, input_scale, activations)
    plan = Plan([], {}, activations=activations, wide=widened.values, narrow=widened.narrow)
    for node in graph_module.graph.nodes:
        if node.op == "placeholder":
            _add_group(plan, node, input_scale)
        elif node.op == "get_attr" and is_constant_value(graph_module, node):
            _add_group(plan, node, None)
        elif node.op == "call_function":
            roles.check_supported(node)
            _plan_node(plan, node)
    plan.float_weights = frozenset(float_weights)
    for node in graph_module.graph.nodes:
        if plan.stays_float(node):
            _leave_float(plan, value_of(node))
    return plan


def _leave_float(plan: Plan, value: Node) -> None:
    """Take the scale from a value that nothing but float layers reads."""
    group = plan.group_of[value]
    between = all(plan.stays_float(user) and user.args[0] is value for user in value.users)
    if value.users and between and group.members == [value]:
        plan.groups.remove(group)
        del plan.group_of[value]


def is_constant_value(graph_module: GraphModule, node: Node) -> bool:
    """Whether a parameter is an operand like a computed value: it gets a scale as those do."""
    parameter = parameter_of(graph_module, node)
    if parameter is None or not parameter.is_floating_point():
        return False
    return any(
        argument is node and index not in _OWN_PARAMETERS.get(user.target, ())
        for user in node.users
        for index, argument in enumerate(_flat(user.args))
    )


def _flat(arguments: Any) -> list[Any]:
    """Arguments with lists of nodes (of a concatenation) laid out."""
    first = arguments[0] if arguments else None
    if isinstance(first, (list, tuple)):
        return [*first, *arguments[1:]]
    return list(arguments)


def _separate_fixed(
    graph_module: GraphModule, input_scale: ActivationScale | None, activations: Activations
) -> None:
    """Requantize values with a fixed scale before operators that join them with others."""
    scale_of: dict[Node, ActivationScale | None] = {}
    for node in list(graph_module.graph.nodes):
        if node.op == "placeholder":
            scale_of[node] = input_scale
        elif node.target in roles.FIXED:
            scale_of[node] = roles.fixed_scale(node.target, activations)
        elif node.target in roles.SHARE | roles.ACTIVATIONS:
            scale_of[node] = scale_of.get(node.args[0])
        elif node.target in roles.JOIN:
            sources = list(dict.fromkeys(_flat(node.args)[: len(_joined(node))]))
            scales = {scale_of.get(source) for source in sources}
            if len(scales) == 1:
                scale_of[node] = scales.pop()
                continue
            for source in sources:
                if scale_of.get(source) is not None:
                    with graph_module.graph.inserting_before(node):
                        own = graph_module.graph.call_function(roles.REQUANTIZE, (source,))
                    own.meta.update(source.meta)
                    node.replace_input_with(source, own)
    finish_edit(graph_module)


def _joined(node: Node) -> list[Node]:
    return list(node.args[0]) if node.target is ATEN.cat.default else list(node.args[:2])


def _plan_node(plan: Plan, node: Node) -> None:
    if roles.is_index(node) or node.target is ATEN.topk.default:
        return
    if roles.is_part(node):
        _join(plan, node, plan.group_of[node.args[0].args[0]])
    elif node.target in roles.COMPUTE:
        if value_of(node) is node:
            _add_group(plan, node, roles.fixed_scale(node.target, plan.kind_of(node)))
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
    group = Group([node], fixed, kind=plan.kind_of(node))
    plan.groups.append(group)
    plan.group_of[node] = group


def _join(plan: Plan, node: Node, group: Group) -> None:
    group.members.append(node)
    plan.group_of[node] = group


def _merge_all(plan: Plan, node: Node) -> None:
    sources = [plan.group_of[source] for source in _joined(node)]
    target = sources[0]
    for source in dict.fromkeys(sources[1:]):
        if source is target:
            continue
        target.fixed = target.fixed or source.fixed
        target.members.extend(source.members)
        plan.groups.remove(source)
        plan.group_of.update(dict.fromkeys(source.members, target))
    _join(plan, node, target)


def assign(
    graph_module: GraphModule,
    plan: Plan,
    ranges: dict[str, tuple[float, float]],
    *,
    exact: bool = True,
    short_scales: bool = True,
) -> None:
    """Turn the ranges of values into scales, in place.

    Args:
        graph_module: the graph that the plan was made of.
        plan: from `make_plan`.
        ranges: smallest and largest value by node name.
        exact: apply the rules of `exporter.quantize.exact`. They are for int8 alone.
        short_scales: give weights scales with short mantissas.
    """
    wide = plan.activations == "int16"
    plan.exact, plan.short_scales = exact and not wide, short_scales
    plan.notes.clear()
    for group in plan.groups:
        _set_natural_scale(group, ranges)
        if group.kind == "int8":
            _separate_activations(plan, group)
    if plan.exact:
        _move_to_exact(graph_module, plan)
    if not wide:
        set_wide_scales(plan)


def _move_to_exact(graph_module: GraphModule, plan: Plan) -> None:
    for node in graph_module.graph.nodes:
        if node.op == "placeholder" and plan.group_of[node].fixed is None:
            group = plan.group_of[node]
            group.set_scale(agreeing_scale(group.step))
            group.locked = True
        elif node in plan.group_of and plan.is_exact(node):
            make_exact(graph_module, plan, node)


def _separate_activations(plan: Plan, group: Group) -> None:
    """Quantize before a ReLU, too, where it shares its scale with values below zero.

    Saturation cannot do its work there, and ONNX Runtime would compute both in float.
    """
    if group.low == 0.0:
        return
    for member in list(group.members):
        if member.target in roles.ACTIVATIONS and member.args[0] not in plan.group_of:
            _join(plan, member.args[0], group)


def _set_natural_scale(group: Group, ranges: dict[str, tuple[float, float]]) -> None:
    lows, highs = zip(*(ranges[node.name] for node in group.members), strict=True)
    group.low, group.high = min(0.0, *lows), max(0.0, *highs)
    clipped = [node for node in group.members if roles.starts_at_zero(node)]
    if clipped and group.low == 0.0:
        # Zero becomes the smallest integer: saturation is the ReLU.
        group.high = min(group.high, max(roles.clip_range(node)[1] for node in clipped))
    group.locked = group.fixed is not None
    group.scale = group.fixed or ActivationScale.from_range(group.low, group.high, group.kind)
