"""Mixed precision: layers that stay float or in int16, by the user's names or by what they gain.

A layer is a convolution or dense layer with a weight of its own. Of one that stays float the weight
is not rounded, and its sums are float; what it reads and gives is int8, but for a value between two
such layers. Of one that stays in int16 the result is (`exporter.quantize.wide_layers`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.build import Activations
from exporter.errors import RecipeError
from exporter.quantize import roles
from exporter.quantize.edit import parameter_of
from exporter.quantize.groups import weight_of
from exporter.quantize.lockstep import decibels, outputs, twin_of
from exporter.quantize.plan import assign, make_plan, value_of
from exporter.quantize.qat import ActivationQuantizer, prepare
from exporter.quantize.ranges import measure_ranges
from exporter.quantize.samples import Samples
from exporter.quantize.scheme import ActivationScale
from exporter.quantize.wide_layers import carried, wide_scale

JUDGING = 8
"""Samples on which a layer's gain is measured."""

AUTOMATIC = re.compile(r"auto:([1-9]\d*)")

Precision = Literal["float", "int16"]
"""What a layer stays in."""


def chosen_weights(
    graph_module: GraphModule,
    precision: Precision,
    wished: str | Sequence[str],
    input_scale: ActivationScale | None,
    samples: Samples,
    activations: Activations = "int8",
) -> tuple[str, ...]:
    """The names of the weights of the layers that stay in this precision.

    Args:
        graph_module: a folded graph, without a plan; left as it is.
        precision: what they stay in.
        wished: names of layers as the module calls them, or patterns (`layer3.*`); or "auto:N".
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
        gained = gains(graph_module, precision, input_scale, samples, activations)
        return tuple(sorted(gained, key=lambda name: gained[name], reverse=True)[:count])
    chosen: dict[str, None] = {}
    for name in wished:
        matching = [layer for layer in weights if fnmatchcase(layer, name)]
        if not matching:
            near = difflib.get_close_matches(name, weights, n=3, cutoff=0.0)
            raise RecipeError(
                f"[quantize] {precision}_layers names '{name}', which is no layer",
                expected=f"a convolution or dense layer, such as {', '.join(near) or 'none here'}",
                found=name,
            )
        chosen.update(dict.fromkeys(weights[layer] for layer in matching))
    return tuple(chosen)


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
def gains(
    graph_module: GraphModule,
    precision: Precision,
    input_scale: ActivationScale | None,
    samples: Samples,
    activations: Activations = "int8",
) -> dict[str, float]:
    """By weight, how much less the network's outputs err if its layer alone stays so, in dB.

    Ranges are min/max, and nothing is corrected: what is compared is the same but for the layer.
    """
    prepared = twin_of(graph_module)
    plan = make_plan(prepared, input_scale, activations=activations)
    assign(prepared, plan, measure_ranges(prepared, plan, samples))
    real = twin_of(prepared)
    prepare(prepared, plan, {})
    judging, _ = samples.pick(JUDGING)
    expected = outputs(real, judging)
    plain = decibels(expected, outputs(prepared, judging))
    finer = _float_modules if precision == "float" else _int16_modules
    gained = {}
    for weight in weights_by_layer(real).values():
        with _replaced(prepared, finer(prepared, real, weight)):
            gained[weight] = decibels(expected, outputs(prepared, judging)) - plain
    return gained


def _float_modules(prepared: GraphModule, real: GraphModule, weight: str) -> dict[str, nn.Module]:
    """What takes the places of modules where a layer stays float, by their names."""
    return {f"{weight.replace('.', '_')}_grid": _AsItIs(real.get_parameter(weight))}


def _int16_modules(prepared: GraphModule, real: GraphModule, weight: str) -> dict[str, nn.Module]:
    """What takes the places of modules where a layer's result stays int16, by their names."""
    modules: dict[str, nn.Module] = {}
    for node in real.graph.nodes:
        if weight_of(node) != weight:
            continue
        value = value_of(node)
        for kept in (value, *carried(value)):
            name = f"{kept.name}_quantizer"
            quantizer = dict(prepared.named_children()).get(name)
            if isinstance(quantizer, ActivationQuantizer):
                modules[name] = ActivationQuantizer(wide_scale(quantizer.scale.scale))
    return modules


@contextmanager
def _replaced(graph_module: GraphModule, modules: dict[str, nn.Module]) -> Iterator[None]:
    """Other modules in some places, for a while."""
    before = {name: graph_module.get_submodule(name) for name in modules}
    for name, module in modules.items():
        graph_module.add_submodule(name, module)
    try:
        yield
    finally:
        for name, module in before.items():
            graph_module.add_submodule(name, module)
