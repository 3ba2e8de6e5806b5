"""Fold batch norm, and the camera's mean and standard deviation, into the convolutions.

Batch norm after a convolution, in evaluation mode, is y = factor * conv(x) + shift with
factor = gamma / sqrt(variance + epsilon) per output channel (Jacob et al., arXiv:1712.05877, §3.2).
Weights that already lie on a grid of integers stay on it: the integers keep their values, their
scale becomes scale * |factor|, and a negative factor changes their sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.capture import finish_edit, parameter_of, remove, set_parameter

ATEN = torch.ops.aten
CONVOLUTIONS = (ATEN.conv2d.default, ATEN.conv2d.padding)


@dataclass
class Grid:
    """A weight's integers and their scales.

    Attributes:
        integers: int8, the shape of the weight, in [-127, 127].
        scale: float32 [out].
        mask: bool, the shape of the weight; False where pruning holds a zero. None: nothing pruned.
    """

    integers: torch.Tensor
    scale: torch.Tensor
    mask: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """The real weights, float32."""
        shape = (-1,) + (1,) * (self.integers.dim() - 1)
        return self.integers.float() * self.scale.reshape(shape)


Grids = dict[str, Grid]
"""Weights that lie on a grid, by parameter name."""


@torch.no_grad()
def fold_batch_norm(graph_module: GraphModule, grids: Grids) -> int:
    """Fold every batch norm that follows a convolution; return how many.

    Args:
        graph_module: a captured graph; edited in place.
        grids: grids of its weights; edited in place.

    Raises:
        UnsupportedError: a batch norm that follows anything but a convolution of its own.
    """
    folded = 0
    for node in list(graph_module.graph.nodes):
        if node.target is not ATEN.batch_norm.default:
            continue
        source = node.args[0]
        if source.target not in CONVOLUTIONS or len(source.users) != 1:
            raise UnsupportedError(
                node.name,
                "BatchNorm",
                f"it follows {source.name}, not a convolution that only it reads",
                "move the batch norm directly behind a convolution, or train without it",
            )
        _fold_one(graph_module, source, node, grids)
        remove(graph_module, node, source)
        folded += 1
    finish_edit(graph_module)
    return folded


def _fold_one(graph_module: GraphModule, conv: Node, norm: Node, grids: Grids) -> None:
    gamma, beta, mean, variance = (parameter_of(graph_module, arg) for arg in norm.args[1:5])
    epsilon = float(norm.args[7])
    if mean is None or variance is None:
        raise UnsupportedError(
            norm.name, "BatchNorm", "it keeps no running statistics", "track_running_stats=True"
        )
    factor = 1.0 / torch.sqrt(variance.double() + epsilon)
    if gamma is not None:
        factor = factor * gamma.double()
    shift = -mean.double() * factor
    if beta is not None:
        shift = shift + beta.double()
    scale_output(graph_module, conv, factor.float(), shift.float(), grids)


@torch.no_grad()
def scale_output(
    graph_module: GraphModule,
    conv: Node,
    factor: torch.Tensor,
    shift: torch.Tensor,
    grids: Grids,
) -> None:
    """Make a convolution give factor * y + shift; both float32 [out]."""
    weight_node = conv.args[1]
    weight = parameter_of(graph_module, weight_node)
    if weight is None or not isinstance(weight_node, Node):
        raise UnsupportedError(conv.name, "Conv", "its weight is computed", "use a constant weight")
    name = str(weight_node.target)
    grid = grids.get(name)
    if grid is not None:
        sign = torch.where(factor < 0, -1, 1).to(torch.int8)
        integers = grid.integers * sign.reshape(-1, 1, 1, 1)
        scale = grid.scale * factor.abs()
        # gamma = 0 switches a channel off: any scale serves, and zero is none.
        scale = torch.where(scale > 0, scale, grid.scale)
        integers = torch.where((factor == 0).reshape(-1, 1, 1, 1), 0, integers)
        grids[name] = Grid(integers.to(torch.int8), scale.float(), grid.mask)
        set_parameter(graph_module, name, grids[name].values())
    else:
        set_parameter(graph_module, name, weight * factor.reshape(-1, 1, 1, 1))
    _set_bias(graph_module, conv, factor, shift)


def _set_bias(
    graph_module: GraphModule, conv: Node, factor: torch.Tensor, shift: torch.Tensor
) -> None:
    arguments = list(conv.args) + [None] * (3 - len(conv.args))
    bias = parameter_of(graph_module, arguments[2])
    if bias is not None:
        set_parameter(graph_module, str(arguments[2].target), bias * factor + shift)
        return
    name = conv.name + "_bias"
    graph_module.register_parameter(name, nn.Parameter(shift.clone()))
    with graph_module.graph.inserting_before(conv):
        arguments[2] = graph_module.graph.get_attr(name)
    conv.args = tuple(arguments)


@torch.no_grad()
def fold_input_affine(
    graph_module: GraphModule, factor: torch.Tensor, shift: torch.Tensor, grids: Grids
) -> None:
    """Let the graph take r where it took factor * r + shift, per input channel.

    Padding then pads with r = 0 instead of factor * r + shift = 0: where `shift` is not zero, the
    outermost pixels of a padded first convolution see a border that differs by `shift`.

    Args:
        graph_module: a graph whose one input is read by ungrouped convolutions only.
        factor: float32 [in].
        shift: float32 [in].
        grids: grids of its weights. A grid survives only a factor that all channels share.

    Raises:
        UnsupportedError: the input is read by something else, or by a grouped convolution.
    """
    source = next(node for node in graph_module.graph.nodes if node.op == "placeholder")
    for conv in source.users:
        groups = conv.args[6] if len(conv.args) > 6 else 1
        if conv.target not in CONVOLUTIONS or groups != 1:
            raise UnsupportedError(
                conv.name,
                str(conv.target),
                "mean and std cannot be folded into it, as it is no ungrouped convolution",
                'use [input] dtype = "float32" and normalise before the model',
            )
        weight_node = conv.args[1]
        name = str(weight_node.target)
        weight = parameter_of(graph_module, weight_node)
        assert weight is not None  # noqa: S101 - fold_batch_norm has checked it
        bias = weight.double().sum((2, 3)) @ shift.double()
        grid = grids.pop(name, None)
        set_parameter(graph_module, name, weight * factor.reshape(1, -1, 1, 1))
        if grid is not None and bool((factor == factor[0]).all()):
            grids[name] = Grid(grid.integers, (grid.scale * factor[0]).float(), grid.mask)
            set_parameter(graph_module, name, grids[name].values())
        _set_bias(graph_module, conv, torch.ones(len(weight)), bias.float())
    finish_edit(graph_module)
