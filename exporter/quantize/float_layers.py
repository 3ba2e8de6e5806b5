"""Mixed precision: layers that stay float, named by the user or chosen by what they gain.

A layer is a convolution or dense layer with a weight of its own. Its weight is not rounded, and its
sums are float; what it reads and gives is int8, but for a value between two such layers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.build import Activations
from exporter.errors import RecipeError
from exporter.quantize import roles
from exporter.quantize.edit import parameter_of
from exporter.quantize.lockstep import decibels, outputs, twin_of
from exporter.quantize.plan import assign, make_plan
from exporter.quantize.qat import prepare
from exporter.quantize.ranges import measure_ranges
from exporter.quantize.samples import Samples
from exporter.quantize.scheme import ActivationScale

JUDGING = 8
"""Samples on which a layer's gain is measured."""

AUTOMATIC = re.compile(r"auto:([1-9]\d*)")


def float_weights(
    graph_module: GraphModule,
    wished: str | Sequence[str],
    input_scale: ActivationScale | None,
    samples: Samples,
    activations: Activations = "int8",
) -> tuple[str, ...]:
    """The names of the weights that stay float.

    Args:
        graph_module: a folded graph, without a plan; left as it is.
        wished: names of layers as the module calls them, or "auto:N".
        input_scale: as in `make_plan`.
        samples: to measure with, for "auto:N".
        activations: as in `make_plan`.

    Raises:
        RecipeError: a name that is no layer's; the nearest are told.
    """
    weights = weights_by_layer(graph_module)
    if isinstance(wished, str):
        found = AUTOMATIC.fullmatch(wished)
        count = 0 if found is None else int(found.group(1))
        gains = float_gains(graph_module, input_scale, samples, activations)
        return tuple(sorted(gains, key=lambda name: gains[name], reverse=True)[:count])
    for name in wished:
        if name not in weights:
            near = difflib.get_close_matches(name, weights, n=3, cutoff=0.0)
            raise RecipeError(
                f"[quantize] float_layers names '{name}', which is no layer",
                expected=f"a convolution or dense layer, such as {', '.join(near) or 'none here'}",
                found=name,
            )
    return tuple(weights[name] for name in wished)


def weights_by_layer(graph_module: GraphModule) -> dict[str, str]:
    """The weight's name of each layer of the user's own, by the layer's name."""
    found = {}
    for node in graph_module.graph.nodes:
        if node.target not in roles.WEIGHTED or not isinstance(node.args[1], Node):
            continue
        weight = parameter_of(graph_module, node.args[1])
        if isinstance(weight, nn.Parameter):
            name = str(node.args[1].target)
            found[name.removesuffix(".weight")] = name
    return found


class _AsItIs(nn.Module):
    """Stands for a weight's grid, and gives the weight itself."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self) -> torch.Tensor:
        """The weight."""
        return self.weight


@torch.no_grad()
def float_gains(
    graph_module: GraphModule,
    input_scale: ActivationScale | None,
    samples: Samples,
    activations: Activations = "int8",
) -> dict[str, float]:
    """By weight, how much less the network's outputs err if it alone stays float, in dB.

    Ranges are min/max, and nothing is corrected: what is compared is the same but for the weight.
    """
    prepared = twin_of(graph_module)
    plan = make_plan(prepared, input_scale, activations=activations)
    assign(prepared, plan, measure_ranges(prepared, plan, samples))
    real = twin_of(prepared)
    prepare(prepared, plan, {})
    judging, _ = samples.pick(JUDGING)
    expected = outputs(real, judging)
    plain = decibels(expected, outputs(prepared, judging))
    gains = {}
    for weight in weights_by_layer(real).values():
        name = f"{weight.replace('.', '_')}_grid"
        grid = prepared.get_submodule(name)
        prepared.add_submodule(name, _AsItIs(real.get_parameter(weight)))
        gains[weight] = decibels(expected, outputs(prepared, judging)) - plain
        prepared.add_submodule(name, grid)
    return gains
