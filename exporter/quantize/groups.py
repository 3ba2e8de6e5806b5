"""Values with one scale, and the plan that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch.fx import Node

from exporter.build import Activations
from exporter.quantize import roles
from exporter.quantize.scheme import ActivationScale, zero_point_for


@dataclass(eq=False)
class Group:
    """Values with one scale and type. `low` and `high` are their joint range, once it is known."""

    members: list[Node]
    fixed: ActivationScale | None = None
    low: float = 0.0
    high: float = 0.0
    scale: ActivationScale | None = None
    locked: bool = False
    kind: Activations = "int8"

    @property
    def name(self) -> str:
        """The first member's name stands for the group."""
        return self.members[0].name

    @property
    def step(self) -> float:
        """The scale's size.

        Raises:
            ValueError: ranges were not assigned yet.
        """
        if self.scale is None:
            raise ValueError(f"group {self.name} has no scale yet")
        return self.scale.scale

    def zero_point_at(self, step: float) -> int:
        """The zero point that goes with a scale."""
        return self.fixed.zero_point if self.fixed is not None else zero_point_for(self.low, step)

    def set_scale(self, step: float) -> None:
        """Take this scale; the zero point follows from the range."""
        self.scale = ActivationScale.of(step, self.zero_point_at(step))


@dataclass
class Plan:
    """Every value of a graph, and the group that it belongs to.

    Attributes:
        groups: in topological order of their first member.
        group_of: value → its group.
        short_scales: whether weights get scales with short mantissas.
        exact: whether the rules of `exporter.quantize.exact` were applied.
        notes: places where a rule could not be met, by node name, for the certificate.
        float_weights: names of the weights of layers that stay float.
        activations: the type of all values but those of `wide`.
        wide: values that are int16 in a plan of int8.
        narrow: as in `exporter.quantize.wide_layers`.
    """

    groups: list[Group]
    group_of: dict[Node, Group]
    exact: bool = True
    short_scales: bool = True
    notes: list[str] = field(default_factory=list)
    float_weights: frozenset[str] = frozenset()
    activations: Activations = "int8"
    wide: frozenset[Node] = frozenset()
    narrow: dict[Node, Node] = field(default_factory=dict)

    def kind_of(self, value: Node) -> Activations:
        """The type of a value."""
        return "int16" if value in self.wide else self.activations

    def is_exact(self, value: Node) -> bool:
        """Whether the rules of `exporter.quantize.exact` are for what gives a value: int8 alone."""
        around = (value, *value.all_input_nodes)
        kinds = {self.group_of[node].kind for node in around if node in self.group_of}
        return "int16" not in kinds

    def stays_float(self, node: Node) -> bool:
        """Whether a node is a layer that stays float."""
        return weight_of(node) in self.float_weights

    def quantized(self, node: Node) -> Group:
        """The group of the value that a compute node's result becomes."""
        return self.group_of[value_of(node)]


def value_of(node: Node) -> Node:
    """The node after which `node`'s result is quantized: itself, or its fused activation."""
    users = list(node.users)
    fusable = node.target in roles.FUSABLE and not roles.is_pointwise(node)
    if fusable and len(users) == 1 and roles.starts_at_zero(users[0]):
        return users[0]
    return node


def weight_of(node: Node) -> str:
    """The name of a convolution's or dense layer's weight; empty for any other node."""
    if node.target not in roles.WEIGHTED:
        return ""
    return str(getattr(node.args[1], "target", ""))
