"""Classes of channels: values whose channels can only change together, and what they pass.

Between the layers that give a value and those that read it, channel i may be scaled, or put in
another place, if the layers on both ends are changed to match and what lies between treats channels
alike. What that is differs: scaling passes ReLU and pooling, an order passes every function of one
value. A depthwise layer ends a class of scales, as its weights can take any factor up; an order
goes through it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import torch
from torch.fx import GraphModule, Node

from exporter.quantize import roles
from exporter.quantize.edit import ATEN, argument, parameter_of, shape_of
from exporter.quantize.fold import Grids

Change = Literal["scale", "order"]

_POOLS: Final = {ATEN.max_pool2d.default, ATEN.avg_pool2d.default, ATEN.upsample_nearest2d.vec}


@dataclass(eq=False)
class ChannelClass:
    """Values whose channels must be changed alike.

    Attributes:
        values: nodes, each [N, C, ...].
        producers: layers whose output is among them.
        consumers: layers that read one of them.
        passed: depthwise layers within, whose channels move along.
        cap: the smallest cap of an activation among them.
        frozen: why they cannot be changed; empty if they can.
    """

    values: list[Node] = field(default_factory=list)
    producers: list[Node] = field(default_factory=list)
    consumers: list[Node] = field(default_factory=list)
    passed: list[Node] = field(default_factory=list)
    cap: float = math.inf
    frozen: str = ""


def channel_classes(graph_module: GraphModule, grids: Grids, change: Change) -> list[ChannelClass]:
    """The classes that can be changed: with layers on both ends, and nothing against it.

    Args:
        graph_module: a folded graph, before a plan is made of it.
        grids: grids that weights were trained on; these weights stay as they are.
        change: what is to be done with channels.
    """
    classes = _Classes(graph_module, grids, change).find()
    return [one for one in classes if one.producers and one.consumers and not one.frozen]


@dataclass(frozen=True)
class Channels:
    """What became of the channels of layers' outputs, by the name of the layer's weight.

    Channel i of the output is now channel order[i] of what it was, times factors[order[i]].

    Attributes:
        factors: float32 [C]; of layers that are not here, 1.
        order: int64 [C]; of layers that are not here, as they were.
    """

    factors: dict[str, torch.Tensor] = field(default_factory=dict)
    order: dict[str, torch.Tensor] = field(default_factory=dict)


class _Classes:
    """Finds the classes of a graph, node by node."""

    def __init__(self, graph_module: GraphModule, grids: Grids, change: Change) -> None:
        self.graph_module = graph_module
        self.grids = grids
        self.orders = change == "order"
        self.readers: dict[str, int] = {}
        self.class_of: dict[Node, ChannelClass] = {}
        for node in graph_module.graph.nodes:
            if node.target in roles.WEIGHTED:
                for parameter in self._parameters(node):
                    self.readers[parameter] = self.readers.get(parameter, 0) + 1

    def _parameters(self, layer: Node) -> list[str]:
        """The names of a layer's weight and bias."""
        return [str(node.target) for node in layer.args[1:3] if isinstance(node, Node)]

    def find(self) -> list[ChannelClass]:
        for node in self.graph_module.graph.nodes:
            if node.op in {"get_attr", "output"}:
                for source in node.all_input_nodes:
                    self.class_of[source].frozen = "the network gives it"
                continue
            self._visit(node)
        return list(dict.fromkeys(self.class_of.values()))

    def _visit(self, node: Node) -> None:
        sources = [source for source in node.all_input_nodes if source in self.class_of]
        if node.target in roles.WEIGHTED:
            self._layer(node)
        elif self._joins(node):
            joined = self._join(node, sources)
            joined.frozen = joined.frozen or ("" if len(sources) == 2 else "a constant is added")
        elif len(sources) == 1 and self._keeps(node):
            joined = self._join(node, sources)
            if node.target in roles.ACTIVATIONS:
                joined.cap = min(joined.cap, roles.clip_range(node)[1])
        else:
            self._add(node, f"{node.name} mixes channels")
            for source in sources:
                self.class_of[source].frozen = f"{node.name} mixes channels"

    def _joins(self, node: Node) -> bool:
        if node.target in roles.ADDITIONS:
            return _same_channels(node) if self.orders else _same_shapes(node)
        others = roles.PRODUCTS | roles.QUOTIENTS | {ATEN.minimum.default, ATEN.maximum.default}
        return self.orders and node.target in others and _same_channels(node)

    def _keeps(self, node: Node) -> bool:
        if _keeps_channels(node):
            return True
        return self.orders and _treats_channels_alike(node)

    def _add(self, node: Node, frozen: str = "") -> ChannelClass:
        added = ChannelClass([node], frozen=frozen)
        self.class_of[node] = added
        return added

    def _layer(self, node: Node) -> None:
        name = str(node.args[1].target)
        weight = parameter_of(self.graph_module, node.args[1])
        moves_along = self.orders and weight is not None and is_depthwise(node, weight)
        fixed = ""
        if weight is None or any(self.readers[one] > 1 for one in self._parameters(node)):
            fixed = f"{node.name} has no weight, or shares it or its bias"
        elif name in self.grids:
            fixed = f"{node.name} was trained on its grid"
        elif not (moves_along or isinstance(weight, torch.nn.Parameter)):
            fixed = f"{node.name} is none of the network's layers"
        elif not (is_depthwise(node, weight) or argument(node, 6, 1) == 1):
            fixed = f"{node.name} is a grouped convolution"
        channel_last = node.target in roles.DENSE and len(shape_of(node)) != 2
        fixed = fixed or (f"{node.name} reads rows" if channel_last else "")
        read = self.class_of[node.args[0]]
        if moves_along:
            self._join(node, node.all_input_nodes[:1]).passed.append(node)
            read.frozen = read.frozen or fixed
            return
        read.consumers.append(node)
        read.frozen = read.frozen or fixed
        self._add(node, fixed).producers.append(node)

    def _join(self, node: Node, sources: list[Node]) -> ChannelClass:
        target = self.class_of[sources[0]]
        for source in sources[1:]:
            other = self.class_of[source]
            if other is target:
                continue
            target.values += other.values
            target.producers += other.producers
            target.consumers += other.consumers
            target.passed += other.passed
            target.cap = min(target.cap, other.cap)
            target.frozen = target.frozen or other.frozen
            self.class_of.update(dict.fromkeys(other.values, target))
        target.values.append(node)
        self.class_of[node] = target
        return target


def is_depthwise(node: Node, weight: torch.Tensor) -> bool:
    """Whether each output channel of a convolution reads the one input channel of its number."""
    return argument(node, 6, 1) == len(weight) and weight.dim() == 4 and weight.shape[1] == 1


def _same_shapes(node: Node) -> bool:
    operands = [argument(node, 0), argument(node, 1)]
    nodes = [operand for operand in operands if isinstance(operand, Node)]
    return len(nodes) == 2 and shape_of(nodes[0]) == shape_of(nodes[1])


def _same_channels(node: Node) -> bool:
    """Whether both operands are images of as many channels: a gate may have one pixel."""
    operands = [argument(node, 0), argument(node, 1)]
    shapes = [shape_of(operand) for operand in operands if isinstance(operand, Node)]
    ranks = {len(shape) for shape in shapes}
    return len(shapes) == 2 and len(ranks) == 1 and len({shape[1:2] for shape in shapes}) == 1


def _treats_channels_alike(node: Node) -> bool:
    """Whether a node of one value does the same to every channel."""
    if node.target in roles.ACTIVATIONS or node.target in roles.INTERPOLATIONS:
        return True
    return roles.is_pointwise(node) and node.target is not ATEN.prelu.default


def _keeps_channels(node: Node) -> bool:
    """Whether a node of one value treats channels apart and scales with them."""
    if node.target in roles.ACTIVATIONS:
        return roles.starts_at_zero(node)
    if node.target in _POOLS or node.target is ATEN.leaky_relu.default:
        return True
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or isinstance(source.meta["val"], tuple | list):
        return False  # it makes a value, or takes one of several results
    shape = shape_of(source)
    if node.target in roles.MEANS and len(shape) == 4:
        return sorted(roles.reduced_axes(node)) == [2, 3]
    if node.target is ATEN.reshape.default and len(shape) == 4:
        return shape[2:] == (1, 1) and shape_of(node)[1] == shape[1]
    return False
