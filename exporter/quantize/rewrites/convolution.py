"""1-D convolution → 2-D; transposed convolution → convolution, pixel shuffle and crop.

Neither runtime has an integer kernel for a transposed convolution that the other equals; a
convolution that computes all `stride x stride` output phases at each input position is exact in
both, and faster (Shi et al., arXiv:1609.07009, have the equivalence).
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.edit import (
    ATEN,
    add_parameter,
    argument,
    calls,
    insert,
    parameter_of,
    remove,
    set_parameter,
    shape_of,
    view,
)


def lower_convolutions(graph_module: GraphModule) -> int:
    """Rewrite every convolution that is not 2-D and forward; return how many."""
    flat = calls(graph_module, ATEN.conv1d.default, ATEN.conv1d.padding)
    for node in flat:
        _from_1d(graph_module, node)
    transposed = calls(graph_module, ATEN.conv_transpose2d.input)
    for node in transposed:
        _from_transposed(graph_module, node)
    return len(flat) + len(transposed)


def _from_1d(graph_module: GraphModule, node: Node) -> None:
    """[N, C, L] → [N, C, 1, L], and back."""
    name = str(node.args[1].target)
    weight = parameter_of(graph_module, node.args[1])
    if weight is None:
        raise UnsupportedError(node.name, "Conv", "its weight is computed", "use a constant weight")
    if weight.dim() == 3:
        set_parameter(graph_module, name, weight.unsqueeze(2))
    batch, channels, length = shape_of(node.args[0])
    source = view(graph_module, node, node.args[0], (batch, channels, 1, length))
    stride, padding = argument(node, 3, [1]), argument(node, 4, [0])
    dilation, groups = argument(node, 5, [1]), argument(node, 6, 1)
    named = isinstance(padding, str)
    arguments = (
        [1, stride[0]],
        padding if named else [0, padding[0]],
        [1, dilation[0]],
        groups,
    )
    target = ATEN.conv2d.padding if named else ATEN.conv2d.default
    batch, channels, length = shape_of(node)
    image = (batch, channels, 1, length)
    inputs = (source, node.args[1], argument(node, 2))
    result = insert(graph_module, node, target, *inputs, *arguments, shape=image)
    remove(graph_module, node, view(graph_module, node, result, shape_of(node)))


def _from_transposed(graph_module: GraphModule, node: Node) -> None:
    weight = parameter_of(graph_module, node.args[1])
    stride, padding = argument(node, 3, [1, 1]), argument(node, 4, [0, 0])
    extra, groups, dilation = argument(node, 5, [0, 0]), argument(node, 6, 1), argument(node, 7, 1)
    square = stride[0] == stride[-1]
    dilated = any(d != 1 for d in (dilation if isinstance(dilation, (list, tuple)) else [dilation]))
    if weight is None or dilated or not square:
        raise UnsupportedError(
            node.name,
            "ConvTranspose",
            "it is dilated, its strides differ, or its weight is computed",
            "use equal strides, no dilation and a constant weight",
        )
    step = int(stride[0])
    phases, bias = phase_weight(weight.detach(), step, groups), argument(node, 2)
    reach = [size - 1 for size in phases.shape[2:]]
    batch, _, height, width = shape_of(node.args[0])
    channels = len(phases)
    kernel = add_parameter(graph_module, f"{node.args[1].target}_phases", phases, node)
    if bias is not None:
        repeated = parameter_of(graph_module, bias).repeat_interleave(step * step)
        bias = add_parameter(graph_module, f"{bias.target}_phases", repeated, node)
    grown = (batch, channels, height + reach[0], width + reach[1])
    arguments = (node.args[0], kernel, bias, [1, 1], reach, [1, 1], groups)
    result = insert(graph_module, node, ATEN.conv2d.default, *arguments, shape=grown)
    if step > 1:
        shuffled = (batch, channels // step**2, grown[2] * step, grown[3] * step)
        result = insert(
            graph_module, node, ATEN.pixel_shuffle.default, result, step, shape=shuffled
        )
    for axis in (2, 3):
        result = _crop(graph_module, node, result, axis, padding[axis - 2], extra)
    remove(graph_module, node, result)


def _crop(
    graph_module: GraphModule, node: Node, source: Node, axis: int, start: int, extra: list[int]
) -> Node:
    """The part of an axis that the transposed convolution gives."""
    have, wanted = shape_of(source), shape_of(node)[axis]
    if start == 0 and have[axis] == wanted:
        return source
    if start + wanted > have[axis]:
        raise UnsupportedError(
            node.name,
            "ConvTranspose",
            f"its output padding {extra} reaches beyond its kernel",
            "use an output padding smaller than kernel - stride + padding",
        )
    shape = (*have[:axis], wanted, *have[axis + 1 :])
    arguments = (source, axis, start, start + wanted, 1)
    return insert(graph_module, node, ATEN.slice.Tensor, *arguments, shape=shape)


def phase_weight(weight: torch.Tensor, stride: int, groups: int) -> torch.Tensor:
    """The weight of the convolution that gives all phases of a transposed one.

    Output row o = stride * b + phase sums x[b - m] * w[phase + stride * m] over m.

    Args:
        weight: [in, out / groups, kh, kw], of the transposed convolution.
        stride: along both axes.
        groups: of both convolutions.

    Returns:
        [out * stride * stride, in / groups, ceil(kh / stride), ceil(kw / stride)].
    """
    inputs, outputs, height, width = weight.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = weight.new_zeros(inputs, outputs, rows * stride, columns * stride)
    padded[:, :, :height, :width] = weight
    apart = padded.reshape(groups, inputs // groups, outputs, rows, stride, columns, stride)
    apart = apart.flip(3).flip(5)
    ordered = apart.permute(0, 2, 4, 6, 1, 3, 5)
    return ordered.reshape(-1, inputs // groups, rows, columns).contiguous()
