"""Fold batch norm, and the camera's mean and standard deviation, into the convolutions.

Batch norm after a convolution, in evaluation mode, is y = factor * conv(x) + shift with
factor = gamma / sqrt(variance + epsilon) per output channel (Jacob et al., arXiv:1712.05877, §3.2).
Weights that already lie on a grid of integers stay on it: the integers keep their values, their
scale becomes scale * |factor|, and a negative factor changes their sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.edit import (
    ATEN,
    add_parameter,
    argument,
    finish_edit,
    parameter_of,
    remove,
    set_parameter,
)

CONVOLUTIONS = (ATEN.conv2d.default, ATEN.conv2d.padding)
TRANSPOSED = (ATEN.conv_transpose2d.input,)
FOLDABLE = (
    *CONVOLUTIONS,
    *TRANSPOSED,
    ATEN.conv1d.default,
    ATEN.conv1d.padding,
    ATEN.linear.default,
)


@dataclass
class Grid:
    """A weight's integers and their scales.

    Attributes:
        integers: int8, the shape of the weight, in [-127, 127].
        scale: float32 [out].
        mask: bool, the shape of the weight; False where pruning holds a zero. None: nothing pruned.
        trains: whether quantization-aware training may move the integers: those of a code book
            would not stay one.
    """

    integers: torch.Tensor
    scale: torch.Tensor
    mask: torch.Tensor | None = None
    trains: bool = True

    def values(self) -> torch.Tensor:
        """The real weights, float32."""
        shape = (-1,) + (1,) * (self.integers.dim() - 1)
        return self.integers.float() * self.scale.reshape(shape)


Grids = dict[str, Grid]
"""Weights that lie on a grid, by parameter name."""


@torch.no_grad()
def fold_batch_norm(graph_module: GraphModule, grids: Grids) -> int:
    """Fold every batch norm that follows a convolution or dense layer of its own; return how many.

    Args:
        graph_module: a captured graph; edited in place. Batch norms that follow something else
            stay.
        grids: grids of its weights; edited in place.

    Raises:
        UnsupportedError: a batch norm without running statistics.
    """
    folded = 0
    for node in list(graph_module.graph.nodes):
        if node.target is not ATEN.batch_norm.default:
            continue
        source = node.args[0]
        if source.target not in FOLDABLE or len(source.users) != 1:
            continue
        if source.target is ATEN.linear.default and len(source.meta["val"].shape) != 2:
            continue
        affine = batch_norm_affine(graph_module, node)
        scale_output(graph_module, source, *affine, grids, trains=_trains(graph_module, node))
        remove(graph_module, node, source)
        folded += 1
    finish_edit(graph_module)
    return folded


def _trains(graph_module: GraphModule, node: Node) -> bool:
    """Whether a layer or batch norm has a parameter that trains."""
    parameters = (parameter_of(graph_module, argument) for argument in node.args[1:3])
    return any(parameter is not None and parameter.requires_grad for parameter in parameters)


@torch.no_grad()
def batch_norm_affine(graph_module: GraphModule, norm: Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and shift, float32 [C]: what a batch norm does in evaluation mode.

    Raises:
        UnsupportedError: it keeps no running statistics.
    """
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
    return factor.float(), shift.float()


@torch.no_grad()
def scale_output(
    graph_module: GraphModule,
    conv: Node,
    factor: torch.Tensor,
    shift: torch.Tensor,
    grids: Grids,
    *,
    trains: bool = False,
) -> None:
    """Make a convolution give factor * y + shift; both float32 [out].

    A bias that it gets trains where the convolution does, or with `trains`.
    """
    name, weight = _own_weight(graph_module, conv, grids)
    grid = grids.get(name)
    by_channel = (-1,) + (1,) * (weight.dim() - 1)
    if grid is not None:
        sign = torch.where(factor < 0, -1, 1).to(torch.int8)
        integers = grid.integers * sign.reshape(by_channel)
        scale = grid.scale * factor.abs()
        # gamma = 0 switches a channel off: any scale serves, and zero is none.
        scale = torch.where(scale > 0, scale, grid.scale)
        integers = torch.where((factor == 0).reshape(by_channel), 0, integers)
        grids[name] = replace(grid, integers=integers.to(torch.int8), scale=scale.float())
        set_parameter(graph_module, name, grids[name].values())
    elif conv.target in TRANSPOSED:
        outputs = factor.reshape(argument(conv, 6, 1), 1, -1, 1, 1)
        apart = weight.unflatten(0, (len(outputs), -1))
        set_parameter(graph_module, name, (apart * outputs).flatten(0, 1))
    else:
        set_parameter(graph_module, name, weight * factor.reshape(by_channel))
    _set_bias(graph_module, conv, factor, shift, trains=trains)


def _own_weight(graph_module: GraphModule, conv: Node, grids: Grids) -> tuple[str, torch.Tensor]:
    """The weight of a convolution and its name; a copy of its own where others read it too."""
    node = conv.args[1]
    weight = parameter_of(graph_module, node)
    if weight is None:
        raise UnsupportedError(conv.name, "Conv", "its weight is computed", "use a constant weight")
    name = str(node.target)
    readers = {
        user
        for n in graph_module.graph.nodes
        if n.op == "get_attr" and n.target == name
        for user in n.users
    }
    if len(readers) > 1:
        own = add_parameter(graph_module, f"{name}_of_{conv.name}", weight, conv)
        graph_module.get_parameter(str(own.target)).requires_grad_(weight.requires_grad)
        if name in grids:
            grids[str(own.target)] = grids[name]
        conv.args = (conv.args[0], own, *conv.args[2:])
        name = str(own.target)
    return name, weight


def _set_bias(
    graph_module: GraphModule,
    conv: Node,
    factor: torch.Tensor,
    shift: torch.Tensor,
    *,
    trains: bool = False,
) -> None:
    arguments = list(conv.args) + [None] * (3 - len(conv.args))
    bias = parameter_of(graph_module, arguments[2])
    if bias is not None:
        set_parameter(graph_module, str(arguments[2].target), bias * factor + shift)
        return
    trains = trains or _trains(graph_module, conv)
    arguments[2] = add_parameter(graph_module, f"{conv.name}_bias", shift, conv)
    graph_module.get_parameter(str(arguments[2].target)).requires_grad_(trains)
    conv.args = tuple(arguments)


def takes_input_affine(graph_module: GraphModule) -> bool:
    """Whether the input is read by ungrouped convolutions only."""
    source = next(node for node in graph_module.graph.nodes if node.op == "placeholder")
    return all(
        reader.target in CONVOLUTIONS and argument(reader, 6, 1) == 1 for reader in source.users
    )


@torch.no_grad()
def fold_input_affine(
    graph_module: GraphModule, factor: torch.Tensor, shift: torch.Tensor, grids: Grids
) -> list[str]:
    """Let the graph take r where it took factor * r + shift, per input channel.

    Padding then pads with r = 0 instead of factor * r + shift = 0: where `shift` is not zero, the
    outermost pixels of a padded first convolution see a border that differs by `shift`.

    Args:
        graph_module: a graph whose one input is read by ungrouped convolutions only.
        factor: float32 [in].
        shift: float32 [in].
        grids: grids of its weights. A grid survives only a factor that all channels share.

    Returns:
        The weights whose grid did not survive: zeros stay, other levels get many values.
    """
    lost = []
    source = next(node for node in graph_module.graph.nodes if node.op == "placeholder")
    for conv in source.users:
        weight_node = conv.args[1]
        name = str(weight_node.target)
        weight = parameter_of(graph_module, weight_node)
        assert weight is not None  # noqa: S101 - fold_batch_norm has checked it
        bias = weight.double().sum((2, 3)) @ shift.double()
        grid = grids.pop(name, None)
        set_parameter(graph_module, name, weight * factor.reshape(1, -1, 1, 1))
        if grid is not None and bool((factor == factor[0]).all()):
            grids[name] = replace(grid, scale=(grid.scale * factor[0]).float())
            set_parameter(graph_module, name, grids[name].values())
        elif grid is not None:
            lost.append(name)
        _set_bias(graph_module, conv, torch.ones(len(weight)), bias.float())
    finish_edit(graph_module)
    return lost
