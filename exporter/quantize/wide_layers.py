"""Mixed precision: layers whose results stay int16, in a network of int8 values.

A value is what has a precision, and a kernel has one for all that it reads and gives. So the result
of such a layer is int16, the layer and all operators that read its result compute in int16, and
what else these read is int8 brought to int16, which loses nothing. What they give is rounded to
int8 again, but where the next operator computes in int16 as well. Operators that only move or
select values carry int16 on; one that joins several values takes int8.

An int16 step is 1 / 127 of the int8 step for the same range: int8 becomes int16 by an integer
factor, and as 127 is odd, no int16 value lies on a tie of int8 where it is rounded back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from torch.fx import GraphModule, Node

from exporter.quantize import roles
from exporter.quantize.edit import ATEN, finish_edit
from exporter.quantize.groups import Plan, value_of, weight_of
from exporter.quantize.scheme import ActivationScale

PARTS = 127
"""int16 steps in an int8 step. At most 32767 / 255, as values lie up to 255 steps from zero."""

_OPERANDS = {
    **dict.fromkeys(roles.WEIGHTED | {ATEN.prelu.default}, 1),
    **dict.fromkeys(roles.NORMALIZATIONS, 1),
}
"""How many of the first arguments are values, where others are the operator's own parameters."""


@dataclass(frozen=True)
class Widened:
    """The int16 values of a graph.

    Attributes:
        values: all of them.
        narrow: int16 value → the int8 value that it is made of or becomes, where there is one.
    """

    values: frozenset[Node] = frozenset()
    narrow: dict[Node, Node] = field(default_factory=dict)


def widen(
    graph_module: GraphModule, weights: Collection[str], float_weights: Collection[str] = ()
) -> Widened:
    """Put changes of type around the layers of these weights, in place.

    Args:
        graph_module: a folded graph, without a plan.
        weights: names of the weights of layers whose results stay int16.
        float_weights: names of the weights of layers that stay float; these read any type.
    """
    if not weights:
        return Widened()
    return _Widening(graph_module, weights, float_weights).run()


def carried(value: Node) -> Iterator[Node]:
    """The values that only move or select what an int16 value holds, and so are int16 as well."""
    for user in value.users:
        if _carries(user):
            yield user
            yield from carried(user)


def wide_scale(step: float) -> ActivationScale:
    """The int16 scale that goes with an int8 step."""
    return ActivationScale.of(step / PARTS, 0, "int16")


def _carries(node: Node) -> bool:
    if roles.is_index(node):
        return False
    return node.target in roles.SHARE | roles.ACTIVATIONS or roles.is_part(node)


class _Widening:
    def __init__(
        self, graph_module: GraphModule, weights: Collection[str], floats: Collection[str]
    ) -> None:
        self.graph_module = graph_module
        self.floats = floats
        nodes = [n for n in graph_module.graph.nodes if n.target in roles.WEIGHTED]
        listed = [n for n in nodes if weight_of(n) in weights]
        kept = [value_of(node) for node in listed]
        self.kept = dict.fromkeys([*kept, *(node for value in kept for node in carried(value))])
        readers = [user for value in self.kept for user in value.users if self._computes(user)]
        self.computing = dict.fromkeys([*listed, *readers])
        self.values = dict.fromkeys([*self.kept, *map(value_of, self.computing)])
        self.narrow: dict[Node, Node] = {}
        self.wide: dict[Node, Node] = {}

    def run(self) -> Widened:
        for value in list(self.values):
            for user in list(value.users):
                if not self._reads_wide(value, user):
                    user.replace_input_with(value, self._narrowed(value))
        for node in self.computing:
            count = _OPERANDS.get(node.target, len(node.args))
            for operand in node.args[:count]:
                if isinstance(operand, Node) and operand not in self.values:
                    node.replace_input_with(operand, self._widened(operand))
        finish_edit(self.graph_module)
        return Widened(frozenset(self.values), self.narrow)

    def _computes(self, node: Node) -> bool:
        return node.target in roles.COMPUTE and weight_of(node) not in self.floats

    def _reads_wide(self, value: Node, user: Node) -> bool:
        if user in self.computing or roles.is_index(user) or weight_of(user) in self.floats:
            return True
        return value in self.kept and (user in self.kept or user.op == "output")

    def _narrowed(self, value: Node) -> Node:
        if value not in self.narrow:
            self.narrow[value] = self._changed(value)
        return self.narrow[value]

    def _widened(self, value: Node) -> Node:
        if value not in self.wide:
            made = self.wide[value] = self._changed(value)
            self.narrow[made] = value
            self.values[made] = None
        return self.wide[value]

    def _changed(self, value: Node) -> Node:
        with self.graph_module.graph.inserting_after(value):
            made = self.graph_module.graph.call_function(roles.REQUANTIZE, (value,))
        made.meta.update(value.meta)
        return made


def set_wide_scales(plan: Plan) -> None:
    """Give int16 groups of an int8 plan the scales that go with int8, once those are settled."""
    for group in plan.groups:
        if group.kind != "int16" or group.fixed is not None:
            continue
        partners = [plan.narrow[node] for node in group.members if node in plan.narrow]
        if partners:
            step = max(plan.group_of[node].step for node in partners)
        else:
            step = ActivationScale.from_range(group.low, group.high).scale
        group.scale = wide_scale(step)
