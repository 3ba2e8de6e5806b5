"""Small parts count: scales with short mantissas, and biases no finer than their effect.

In a network of 60 times less weights, scales and biases are a third of the package. A scale's last
16 mantissa bits and a bias's steps far below the output's change nothing that is ever seen, and are
as incompressible as noise. Both stay what every kernel expects: float32 scales, int32 biases with
scale = input scale * weight scale.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from exporter.quantize import roles
from exporter.quantize.edit import argument, parameter_of, set_parameter
from exporter.quantize.qat import ActivationQuantizer, GridWeight

BIAS_PARTS = 8
"""A bias is a multiple of a power of two that is at most this part of the output's step: it moves
by a sixteenth of a step at most, a fifth of the deviation that rounding the output itself makes."""


@torch.no_grad()
def coarsen_biases(graph_module: GraphModule, parts: int = BIAS_PARTS) -> int:
    """Round the biases of a graph with quantizers in place; return how many layers had one.

    Doing it twice changes nothing more. A layer whose output has no scale keeps its bias.

    Args:
        graph_module: from `exporter.quantize.qat.prepare`, trained or not.
        parts: the coarsest bias step as a part of the output's step.
    """
    done = 0
    for node in graph_module.graph.nodes:
        bias_node = argument(node, 2) if node.target in roles.WEIGHTED else None
        bias = parameter_of(graph_module, bias_node)
        source = _scale(graph_module, node.args[0]) if bias is not None else None
        target = _output_scale(graph_module, node)
        grid = _grid_of(graph_module, node)
        if bias is None or source is None or target is None or grid is None:
            continue
        unit = bias_units(source, grid.scale.flatten(), target, parts)
        rounded = torch.round(bias.double() / unit) * unit
        set_parameter(graph_module, str(bias_node.target), rounded.float())
        done += 1
    return done


def bias_units(
    source: float, scale: torch.Tensor, target: float, parts: int = BIAS_PARTS
) -> torch.Tensor:
    """The step of each channel's bias, float64 [out]: its integer's own times a power of two.

    Args:
        source: the input's scale.
        scale: of the weights, [out].
        target: the output's scale.
        parts: the coarsest step as a part of `target`.
    """
    own = (scale.double() * source).float().double()
    powers = torch.floor(torch.log2(target / parts / own)).clamp(min=0.0)
    return own * torch.exp2(powers)


def _scale(graph_module: GraphModule, node: Node) -> float | None:
    """The scale of a value behind its quantizer; None behind anything else."""
    if node.op != "call_module":
        return None
    module = graph_module.get_submodule(str(node.target))
    return module.scale.scale if isinstance(module, ActivationQuantizer) else None


def _output_scale(graph_module: GraphModule, node: Node) -> float | None:
    """The scale of a layer's output, looked for behind a fused activation too."""
    for user in node.users:
        scale = _scale(graph_module, user)
        if scale is None and user.op == "call_function":
            scale = next((s for u in user.users if (s := _scale(graph_module, u))), None)
        if scale is not None:
            return scale
    return None


def _grid_of(graph_module: GraphModule, node: Node) -> GridWeight | None:
    weight = argument(node, 1) if node.target in roles.WEIGHTED else None
    if not isinstance(weight, Node) or weight.op != "call_module":
        return None
    module = graph_module.get_submodule(str(weight.target))
    return module if isinstance(module, GridWeight) else None
