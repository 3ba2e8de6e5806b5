"""Bias correction: quantization shifts the mean of a layer's outputs; the bias takes it back.

Rounded weights and rounded inputs change the expected output of each channel, and such shifts add
up from layer to layer (Nagel et al., arXiv:1906.04721, §4.2). The correction is measured, as in
their appendix D: the mean output of the float layer less that of the quantized one, over
calibration inputs, layer by layer, with all layers before it quantized and corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node

from exporter.quantize import roles
from exporter.quantize.edit import add_parameter, argument, parameter_of, set_parameter
from exporter.quantize.lockstep import Layer, Run, constants_of

FEWEST_SAMPLES: Final = 8
"""With fewer, the mean error on a few images is corrected, and not that of quantization: on
MobileNetV2 every draw of 8 photographs gained, and of 1, 2 and 4 some lost
(benchmarks/bias_correction.py)."""

AT_ONCE: Final = 2
"""Samples that are computed at once."""


@torch.no_grad()
def correct_biases(
    real: GraphModule,
    quantized: GraphModule,
    batches: Sequence[torch.Tensor],
    tick: Callable[[str], None] = lambda name: None,
) -> None:
    """Correct the biases of all layers in order, in place, and nothing else.

    The float network is run through once and only its means are kept, so that this needs a fraction
    of the memory that a walk over both (`lockstep.layers`) takes.

    Args:
        real: the float graph.
        quantized: its quantized form; `recompile` it when this is done.
        batches: inputs [N, ...] as the graphs take them.
        tick: called with each layer's name.
    """
    samples = [part for batch in batches for part in batch.split(AT_ONCE)]
    expected = _Means(real).over(samples)
    run = Run(quantized, samples)
    while (node := run.to_next_layer()) is not None:
        if node.name in expected:
            constants = constants_of(quantized, [node])
            mean = _Mean()
            for inputs in run.inputs_of(node):
                mean.add(_apply(node, inputs, constants), node)
            _add_to_bias(quantized, node, expected[node.name].value() - mean.value())
        tick(node.name)


@torch.no_grad()
def correct_bias(real: GraphModule, quantized: GraphModule, layer: Layer) -> torch.Tensor | None:
    """Correct one layer's bias, in place; a layer without one gets one.

    Args:
        real: the float graph.
        quantized: its quantized form; `recompile` it when all layers are done.
        layer: of these two graphs.

    Returns:
        The mean error of each output channel that was there, float32 [out]; None for a layer that
        is none of the network's own, such as the ones of a mean, and stays as it is.
    """
    if not is_own_layer(real, layer.twin):
        return None
    error = mean_error(real, quantized, layer)
    _add_to_bias(quantized, layer.node, error)
    return error


@torch.no_grad()
def mean_error(real: GraphModule, quantized: GraphModule, layer: Layer) -> torch.Tensor:
    """Float output less quantized output, mean over everything but the channels: [out]."""
    constants = constants_of(real, [layer.twin]) | constants_of(quantized, [layer.node])
    mean = _Mean()
    for expected, found in zip(layer.real, layer.quantized, strict=True):
        difference = _apply(layer.twin, expected, constants) - _apply(layer.node, found, constants)
        mean.add(difference, layer.node)
    return mean.value().float()


class _Mean:
    """The mean of each channel of a layer's outputs, summed up in float64."""

    def __init__(self) -> None:
        self.total: torch.Tensor | float = 0.0
        self.count = 0

    def add(self, outputs: torch.Tensor, layer: Node) -> None:
        axis = -1 if layer.target in roles.DENSE else 1
        by_channel = outputs.transpose(0, axis).flatten(1)
        self.total = self.total + by_channel.sum(1, dtype=torch.float64)
        self.count += by_channel.shape[1]

    def value(self) -> torch.Tensor:
        return torch.as_tensor(self.total) / self.count


class _Means(Interpreter):
    """Runs a float graph and keeps the mean outputs of the network's own layers, by name."""

    def __init__(self, real: GraphModule) -> None:
        super().__init__(real)
        weighted = (node for node in real.graph.nodes if node.target in roles.WEIGHTED)
        self.means = {node.name: _Mean() for node in weighted if is_own_layer(real, node)}

    def over(self, batches: Iterable[torch.Tensor]) -> dict[str, _Mean]:
        for batch in batches:
            self.run(batch)
        return self.means

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n.name in self.means:
            self.means[n.name].add(result, n)
        return result


def _add_to_bias(graph_module: GraphModule, layer: Node, error: torch.Tensor) -> None:
    bias = own_bias(graph_module, layer, len(error))
    value = parameter_of(graph_module, bias)
    set_parameter(graph_module, str(bias.target), value + error.float())


def is_own_layer(real: GraphModule, layer: Node) -> bool:
    """Whether a layer's weight belongs to the user's network, and not to a rewrite."""
    return isinstance(parameter_of(real, layer.args[1]), nn.Parameter)


def own_bias(graph_module: GraphModule, layer: Node, channels: int) -> Node:
    """The node of a bias that only this layer reads; made where there is none."""
    bias = argument(layer, 2)
    if isinstance(bias, Node):
        readers = {
            user
            for node in graph_module.graph.nodes
            if node.op == "get_attr" and node.target == bias.target
            for user in node.users
        }
        if len(readers) == 1:
            return bias
        value = parameter_of(graph_module, bias)
    else:
        value = torch.zeros(channels)
    own = add_parameter(graph_module, f"{layer.name}_bias", value, layer)
    layer.args = (*layer.args[:2], own, *layer.args[3:])
    return own


def _apply(layer: Node, inputs: torch.Tensor, constants: dict[Node, torch.Tensor]) -> torch.Tensor:
    arguments = [constants.get(a, a) if isinstance(a, Node) else a for a in layer.args[1:]]
    result: torch.Tensor = layer.target(inputs, *arguments)
    return result
