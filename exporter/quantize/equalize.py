"""Cross-layer equalization: the channels of a value get ranges alike, by scaling layers around it.

A value's channels share one int8 scale, so a channel whose values are small has few steps. Between
layers whose outputs scale with their inputs, channel i may be multiplied by t_i if the layers that
give it multiply their rows by t_i and those that read it divide their columns (Nagel et al.,
arXiv:1906.04721, §4.1). That is exact in real numbers, whatever t is, through ReLU, pooling, and
additions that hold all their branches together; so a residual trunk is scaled as a whole.

The factors weigh the range of a channel's values against that of the columns that read it, which
get coarser as values get finer (Xiao et al., arXiv:2211.10438, §4, with their exponent). A
depthwise layer has a scale for each column, so nothing weighs against the values there.

A capped activation (ReLU6) does not scale: relu6(t x) is t x only up to 6 / t. There t_i is chosen
such that the largest value of the channel that calibration saw stays within the cap; what is
larger is cut at 6 / t_i, as a calibrated range cuts it. Channels that reach the cap stay as they
are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch.fx import GraphModule, Interpreter, Node

from exporter.quantize import roles
from exporter.quantize.edit import ATEN, argument, parameter_of, set_parameter, shape_of
from exporter.quantize.fold import Grids

STRENGTH: Final = 0.75
"""Of the exponent: 1 makes the ranges of values equal, 0 those of the columns that read them."""

LARGEST_FACTOR: Final = 32.0
SMALLEST_GAIN: Final = 1.05
"""Classes whose factors all lie within this are left alone."""

_POOLS: Final = {ATEN.max_pool2d.default, ATEN.avg_pool2d.default, ATEN.upsample_nearest2d.vec}


@dataclass(eq=False)
class ChannelClass:
    """Values whose channels must be scaled alike.

    Attributes:
        values: nodes, each [N, C, ...].
        producers: layers whose output is among them.
        consumers: layers that read one of them.
        cap: the smallest cap of an activation among them.
        frozen: why they cannot be scaled; empty if they can.
    """

    values: list[Node] = field(default_factory=list)
    producers: list[Node] = field(default_factory=list)
    consumers: list[Node] = field(default_factory=list)
    cap: float = math.inf
    frozen: str = ""

    @property
    def name(self) -> str:
        """The first value's name stands for all."""
        return self.values[0].name


class _Classes:
    """Finds the classes of a graph, node by node."""

    def __init__(self, graph_module: GraphModule, grids: Grids) -> None:
        self.graph_module = graph_module
        self.grids = grids
        self.readers: dict[str, int] = {}
        self.class_of: dict[Node, ChannelClass] = {}
        for node in graph_module.graph.nodes:
            if node.target in roles.WEIGHTED:
                name = str(node.args[1].target)
                self.readers[name] = self.readers.get(name, 0) + 1

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
        elif node.target in roles.ADDITIONS and _same_shapes(node):
            joined = self._join(node, sources)
            joined.frozen = joined.frozen or ("" if len(sources) == 2 else "a constant is added")
        elif len(sources) == 1 and _keeps_channels(node):
            joined = self._join(node, sources)
            if node.target in roles.ACTIVATIONS:
                joined.cap = min(joined.cap, roles.clip_range(node)[1])
        else:
            self._add(node, f"{node.name} does not scale")
            for source in sources:
                self.class_of[source].frozen = f"{node.name} does not scale"

    def _add(self, node: Node, frozen: str = "") -> ChannelClass:
        added = ChannelClass([node], frozen=frozen)
        self.class_of[node] = added
        return added

    def _layer(self, node: Node) -> None:
        name = str(node.args[1].target)
        weight = parameter_of(self.graph_module, node.args[1])
        fixed = ""
        if weight is None or self.readers[name] > 1:
            fixed = f"{node.name} has no weight of its own"
        elif name in self.grids:
            fixed = f"{node.name} was trained on its grid"
        elif not isinstance(weight, torch.nn.Parameter):
            fixed = f"{node.name} is none of the network's layers"
        elif not (is_depthwise(node, weight) or argument(node, 6, 1) == 1):
            fixed = f"{node.name} is a grouped convolution"
        channel_last = node.target in roles.DENSE and len(shape_of(node)) != 2
        fixed = fixed or (f"{node.name} reads rows" if channel_last else "")
        read = self.class_of[node.args[0]]
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


def _keeps_channels(node: Node) -> bool:
    """Whether a node of one value treats channels apart and scales with them."""
    if node.target in roles.ACTIVATIONS:
        return roles.starts_at_zero(node)
    if node.target in _POOLS or node.target is ATEN.leaky_relu.default:
        return True
    shape = shape_of(node.args[0]) if node.args and isinstance(node.args[0], Node) else ()
    if node.target in roles.MEANS and len(shape) == 4:
        return sorted(roles.reduced_axes(node)) == [2, 3]
    if node.target is ATEN.reshape.default and len(shape) == 4:
        return shape[2:] == (1, 1) and shape_of(node)[1] == shape[1]
    return False


class _Extremes(Interpreter):
    """Keeps the largest magnitude of each channel of some nodes."""

    def __init__(self, graph_module: GraphModule, wanted: set[Node]) -> None:
        super().__init__(graph_module)
        self.wanted = wanted
        self.largest: dict[Node, torch.Tensor] = {}

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        if n in self.wanted and isinstance(result, torch.Tensor):
            flat = result.flatten(2) if result.dim() > 2 else result.unsqueeze(2)
            largest = torch.maximum(flat.amax((0, 2)), -flat.amin((0, 2)))
            known = self.largest.get(n)
            self.largest[n] = largest if known is None else torch.maximum(known, largest)
        return result


@torch.no_grad()
def equalize(
    graph_module: GraphModule,
    batches: Iterable[torch.Tensor],
    grids: Grids | None = None,
    *,
    strength: float = STRENGTH,
) -> list[str]:
    """Equalize the channels of every value that can be, in place.

    Args:
        graph_module: a folded graph, before a plan is made of it.
        batches: inputs [N, ...] as the graph takes them; what the caps of ReLU6 go by.
        grids: grids that weights were trained on; these weights stay.
        strength: in [0, 1], see `STRENGTH`.

    Returns:
        The names of the values that were scaled.
    """
    classes = [c for c in _Classes(graph_module, grids or {}).find() if not c.frozen]
    classes = [c for c in classes if c.producers and c.consumers]
    quantized = {value for c in classes for value in c.values if not _is_fused(value)}
    extremes = _Extremes(graph_module, quantized)
    for batch in batches:
        extremes.run(batch)
    changed = []
    for channel_class in classes:
        factors = _factors(graph_module, channel_class, extremes.largest, strength)
        if float(factors.log().abs().max()) > math.log(SMALLEST_GAIN):
            _scale(graph_module, channel_class, factors)
            changed.append(channel_class.name)
    return changed


def _is_fused(value: Node) -> bool:
    """Whether a value is never quantized, as its one reader is a ReLU that is fused with it."""
    users = list(value.users)
    return value.target in roles.FUSABLE and len(users) == 1 and roles.starts_at_zero(users[0])


def _factors(
    graph_module: GraphModule,
    channel_class: ChannelClass,
    largest: dict[Node, torch.Tensor],
    strength: float,
) -> torch.Tensor:
    """The factors t, float32 [C]."""
    own = [largest[value] for value in channel_class.values if value in largest]
    # Each quantized value has a scale of its own: a channel counts where it is largest within one.
    shares = torch.stack([one / one.max().clamp_min(1e-30) for one in own]).amax(0)
    dead = shares < 1e-6
    shares = shares.clamp_min(1.0 / LARGEST_FACTOR**2)
    columns, weighs = torch.zeros_like(shares), False
    for consumer in channel_class.consumers:
        weight = _weight(graph_module, consumer)
        if not is_depthwise(consumer, weight):
            column = weight.transpose(0, 1).flatten(1).abs().amax(1)
            columns, weighs = torch.maximum(columns, column / column.max().clamp_min(1e-30)), True
    exponent = strength if weighs else 1.0
    factors = shares**-exponent
    if weighs:
        factors = factors * columns.clamp_min(1.0 / LARGEST_FACTOR**2) ** (1.0 - exponent)
    factors = factors / (factors * shares).max()  # the tensor's range stays
    if math.isfinite(channel_class.cap):
        peak = torch.stack(own).amax(0)
        reached = peak >= channel_class.cap
        room = channel_class.cap / peak.clamp_min(1e-30)
        factors = torch.where(reached, 1.0, torch.minimum(factors, room))
    factors = factors.clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    return torch.where(dead, 1.0, factors)


def _scale(graph_module: GraphModule, channel_class: ChannelClass, factors: torch.Tensor) -> None:
    for producer in channel_class.producers:
        weight = _weight(graph_module, producer)
        by_row = factors.reshape(-1, *(1,) * (weight.dim() - 1))
        set_parameter(graph_module, str(producer.args[1].target), weight * by_row)
        bias = argument(producer, 2)
        if bias is not None:
            value = parameter_of(graph_module, bias)
            set_parameter(graph_module, str(bias.target), value * factors)
    for consumer in channel_class.consumers:
        weight = _weight(graph_module, consumer)
        shape = (-1, 1, 1, 1) if is_depthwise(consumer, weight) else (1, -1, 1, 1)
        by_column = factors.reshape(shape[: weight.dim()])
        set_parameter(graph_module, str(consumer.args[1].target), weight / by_column)


def _weight(graph_module: GraphModule, layer: Node) -> torch.Tensor:
    weight = parameter_of(graph_module, layer.args[1])
    if weight is None:
        raise ValueError(f"{layer.name} has no weight")
    return weight.detach()
