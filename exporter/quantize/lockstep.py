"""Run a float graph and its quantized form side by side, layer by layer, on the same inputs.

A layer here is a convolution or dense layer. Values are kept for all batches at once only while a
later node reads them, so each layer can be looked at, and changed, with the inputs that it really
gets: from the float network, and from the quantized layers before it as they are by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from exporter.quantize import roles
from exporter.quantize.edit import BATCH, parameter_of, shape_of
from exporter.quantize.qat import ActivationQuantizer
from exporter.quantize.scheme import ActivationScale

Values = dict[Node, Any]

MEMORY_BYTES: Final = 256 << 20
"""What values that are kept may take; samples that do not fit are left out."""

FEWEST_SAMPLES: Final = 8


@dataclass(frozen=True)
class Layer:
    """One layer, before it is computed.

    Attributes:
        node: in the quantized graph.
        twin: in the float graph.
        real: its inputs in the float network, one a batch.
        quantized: its inputs in the quantized network, one a batch.
    """

    node: Node
    twin: Node
    real: Sequence[torch.Tensor]
    quantized: Sequence[torch.Tensor]


@dataclass(frozen=True)
class _Packed:
    """A quantized value while nothing is computed with it: int8 takes a quarter of its floats.

    An int16 value takes half.
    """

    integers: torch.Tensor
    scale: ActivationScale

    @classmethod
    def of(cls, values: torch.Tensor, scale: ActivationScale) -> _Packed | torch.Tensor:
        """Values packed; or as they are, where the integers' type does not hold them."""
        integers = torch.round(values.detach() * (1.0 / scale.scale)) + scale.zero_point
        lowest, highest = scale.limits
        low, high = (float(end) for end in torch.aminmax(integers))
        if values.dtype != torch.float32 or low < lowest or high > highest:
            return values
        return cls(integers.to(scale.dtype), scale)

    def values(self) -> torch.Tensor:
        """The very floats that were packed: `ActivationQuantizer`'s last step, done again."""
        return (self.integers.float() - self.scale.zero_point) * self.scale.scale


class _Unpacking(Sequence[torch.Tensor]):
    """Values of which some are packed, each unpacked only when it is looked at."""

    def __init__(self, kept: list[Any]) -> None:
        self.kept = kept

    def __len__(self) -> int:
        return len(self.kept)

    @overload
    def __getitem__(self, index: int) -> torch.Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[torch.Tensor]: ...

    def __getitem__(self, index: int | slice) -> torch.Tensor | Sequence[torch.Tensor]:
        if isinstance(index, slice):
            return _Unpacking(self.kept[index])
        return _unpacked(self.kept[index])


def _unpacked(value: Any) -> Any:
    return value.values() if isinstance(value, _Packed) else value


def twin_of(graph_module: GraphModule) -> GraphModule:
    """A graph module with a graph of its own and the same parameters: a reference to hold on to.

    Parameters are replaced, never written into, by `edit.set_parameter`: what is set in one of the
    two does not change the other.
    """
    graph = Graph()
    graph.output(graph.graph_copy(graph_module.graph, {}))
    graph.set_codegen(graph_module.graph._codegen)  # inputs and outputs as the caller knows them
    return GraphModule(graph_module, graph)


def fitting_count(graph_module: GraphModule, memory_bytes: int = MEMORY_BYTES) -> int:
    """How many samples a walk over a float graph and its quantized form may keep.

    Args:
        graph_module: the float graph, with the shapes of its values noted.
        memory_bytes: for the live values of both, in float32.
    """
    return int(max(FEWEST_SAMPLES, memory_bytes // max(1, 2 * 4 * live_elements(graph_module))))


def live_elements(graph_module: GraphModule) -> int:
    """The most elements that one sample keeps alive in front of a layer."""
    dead = _last_reads(graph_module)
    live: dict[Node, int] = {}
    most = 0
    for node in graph_module.graph.nodes:
        if node.target in roles.WEIGHTED:
            most = max(most, sum(live.values()))
        if node.op != "get_attr" and isinstance(node.meta.get("val"), torch.Tensor):
            live[node] = math.prod(shape_of(node)) // BATCH
        for source in dead.get(node, ()):
            live.pop(source, None)
    return most


@torch.no_grad()
def layers(
    real: GraphModule, quantized: GraphModule, batches: Sequence[torch.Tensor]
) -> Iterator[Layer]:
    """Every layer in order; what is done to it before the next is asked for counts for the rest.

    Args:
        real: the float graph.
        quantized: the same graph, its nodes under the same names, with quantizers.
        batches: inputs [N, ...] as the graphs take them.
    """
    runs = Run(real, batches), Run(quantized, batches)
    while True:
        twin, node = (run.to_next_layer() for run in runs)
        if twin is None or node is None:
            return
        yield Layer(node, twin, runs[0].inputs_of(twin), runs[1].inputs_of(node))


@torch.no_grad()
def outputs(graph_module: GraphModule, batches: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The network's outputs, each over all batches."""
    results = [Run(graph_module, [batch]).to_end()[0] for batch in batches]
    return [torch.cat(parts) for parts in zip(*results, strict=True)]


def decibels(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    """Signal to quantization noise in dB: of each output, and of those the mean power ratio.

    Infinity where nothing differs.
    """
    ratios = []
    for exact, quantized in zip(expected, found, strict=True):
        signal = float((exact.double() ** 2).sum())
        noise = float(((quantized.double() - exact.double()) ** 2).sum())
        ratios.append(noise / max(signal, 1e-30))
    mean = sum(ratios) / len(ratios)
    return -10.0 * math.log10(mean) if mean > 0 else math.inf


class Run:
    """A graph, computed as far as it is asked for, with the live values of each batch.

    Args:
        graph_module: of either graph.
        batches: inputs [N, ...] as the graph takes them.
        constants: what its parameters are, if they do not change; else they are read when needed.
    """

    def __init__(
        self,
        graph_module: GraphModule,
        batches: Sequence[torch.Tensor],
        constants: Values | None = None,
    ) -> None:
        self.graph_module = graph_module
        self.nodes = list(graph_module.graph.nodes)
        self.dead = _last_reads(graph_module)
        self.quantizers = _quantizers(graph_module)
        self.inputs = batches
        self.values: list[Values] = [{} for _ in batches]
        self.constants = constants
        self.done = 0

    def to_next_layer(self) -> Node | None:
        """Compute every batch up to the next layer, which is returned and not yet computed."""
        start = self.done + (self.done < len(self.nodes) and self._is_layer(self.done))
        stop = start
        while stop < len(self.nodes) and not self._is_layer(stop):
            stop += 1
        self.compute_until(stop)
        return self.nodes[stop] if stop < len(self.nodes) else None

    def _is_layer(self, index: int) -> bool:
        return self.nodes[index].target in roles.WEIGHTED

    def compute_until(self, stop: int) -> None:
        """Compute every batch up to the node with this number."""
        computed = [node for node in self.nodes[self.done : stop] if not is_constant(node)]
        constants = self.constants
        if constants is None:
            constants = constants_of(self.graph_module, computed)
        for values, batch in zip(self.values, self.inputs, strict=True):
            for node in computed:
                if node.op == "placeholder":
                    values[node] = batch
                elif node.op != "output":
                    values[node] = evaluate(self.graph_module, node, values, constants)
                    for source in self.dead.get(node, ()):
                        values.pop(source, None)
            if stop < len(self.nodes):
                self._pack(values)
        self.done = stop

    def _pack(self, values: Values) -> None:
        for node, value in values.items():
            if node in self.quantizers and isinstance(value, torch.Tensor):
                values[node] = _Packed.of(value, self.quantizers[node])

    def to_end(self) -> list[list[torch.Tensor]]:
        """Compute everything; the network's outputs for each batch."""
        self.compute_until(len(self.nodes))
        final = self.nodes[-1].all_input_nodes
        return [[_unpacked(values[node]) for node in final] for values in self.values]

    def fork(self) -> Run:
        """Another run that goes on from here by itself."""
        other = Run(self.graph_module, self.inputs, self.constants)
        other.values = [dict(values) for values in self.values]
        other.done = self.done
        return other

    def inputs_of(self, node: Node) -> Sequence[torch.Tensor]:
        """The first argument of a node, one a batch."""
        return _Unpacking([values[node.args[0]] for values in self.values])


def is_constant(node: Node) -> bool:
    """Whether a node reads parameters alone: a weight, a bias, a weight's grid."""
    return node.op == "get_attr" or (node.op == "call_module" and not node.args)


def constants_of(graph_module: GraphModule, nodes: Iterable[Node]) -> Values:
    """The parameters that nodes read, as they are now."""
    return {
        source: parameter_of(graph_module, source)
        if source.op == "get_attr"
        else graph_module.get_submodule(str(source.target))()
        for node in nodes
        for source in node.all_input_nodes
        if is_constant(source)
    }


def evaluate(graph_module: GraphModule, node: Node, values: Values, constants: Values) -> Any:
    """What one node gives, its arguments' values at hand."""

    def look_up(source: Node) -> Any:
        return constants[source] if source in constants else _unpacked(values[source])

    arguments = map_arg(node.args, look_up)
    if node.op == "call_module":
        return graph_module.get_submodule(str(node.target))(*arguments)
    return node.target(*arguments, **map_arg(node.kwargs, look_up))


def _quantizers(graph_module: GraphModule) -> dict[Node, ActivationScale]:
    """The nodes that round activations, and to what."""
    modules = {
        node: graph_module.get_submodule(str(node.target))
        for node in graph_module.graph.nodes
        if node.op == "call_module"
    }
    return {n: m.scale for n, m in modules.items() if isinstance(m, ActivationQuantizer)}


def _last_reads(graph_module: GraphModule) -> dict[Node, list[Node]]:
    """By node, the values that nothing behind it reads."""
    last: dict[Node, Node] = {}
    for node in graph_module.graph.nodes:
        for source in node.all_input_nodes:
            last[source] = node
    dead: dict[Node, list[Node]] = {}
    for source, node in last.items():
        dead.setdefault(node, []).append(source)
    return dead
