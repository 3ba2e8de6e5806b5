"""What each ATen operator is to quantization. To add one, give it a role here.

- compute: reads int8 values and gives a value with a scale of its own
- activation: fused into the compute operator before it, when nothing else reads that one
- share: moves or selects values; its output has the scale of its input
- join: all its inputs and its output have one scale
"""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from exporter.errors import UnsupportedError

ATEN = torch.ops.aten

CONVOLUTIONS = {ATEN.conv2d.default, ATEN.conv2d.padding}
DENSE = {ATEN.linear.default}
ADDITIONS = {ATEN.add.Tensor}
MEANS = {ATEN.mean.dim}
COMPUTE = CONVOLUTIONS | DENSE | ADDITIONS | MEANS
ACTIVATIONS = {ATEN.relu.default, ATEN.hardtanh.default, ATEN.relu6.default}
SHARE = {
    ATEN.max_pool2d.default,
    ATEN.flatten.using_ints,
    ATEN.view.default,
    ATEN.reshape.default,
    ATEN.contiguous.default,
}
JOIN = {ATEN.cat.default}


def check_supported(node: Node) -> None:
    """Refuse an operator that has no role, or a form of one that the canonical graph lacks.

    Raises:
        UnsupportedError: with the node's name, the reason and what to do.
    """
    target = node.target
    if target not in COMPUTE | ACTIVATIONS | SHARE | JOIN:
        supported = ", ".join(sorted(_short(t) for t in COMPUTE | ACTIVATIONS | SHARE | JOIN))
        raise UnsupportedError(
            node.name,
            str(target),
            "this operator has no int8 form yet",
            f"replace it in the model by operators among: {supported}",
        )
    if target in ADDITIONS and not all(isinstance(arg, Node) for arg in node.args[:2]):
        raise UnsupportedError(
            node.name, "Add", "it adds a constant", "fold the constant into a bias"
        )
    if target is ATEN.hardtanh.default and hardtanh_range(node) != (0.0, 6.0):
        raise UnsupportedError(
            node.name,
            "Clip",
            f"its range is {hardtanh_range(node)}, and only ReLU6's [0, 6] is supported",
            "use nn.ReLU6 or nn.ReLU",
        )
    if target in MEANS and not _is_global_mean(node):
        raise UnsupportedError(
            node.name,
            str(target),
            "it is not the mean over height and width",
            "use nn.AdaptiveAvgPool2d(1) or x.mean((2, 3))",
        )


def hardtanh_range(node: Node) -> tuple[float, float]:
    """The clip's limits; PyTorch's defaults where they are left out."""
    limits = [*node.args[1:3], *(-1.0, 1.0)[len(node.args) - 1 :]]
    return float(limits[0]), float(limits[1])


def upper_limit(node: Node) -> float:
    """The largest value that an activation lets through."""
    return math.inf if node.target is ATEN.relu.default else 6.0


def spatial_size(node: Node) -> int:
    """How many values each mean is taken over: height * width of the input."""
    shape = node.args[0].meta["val"].shape
    return int(shape[2]) * int(shape[3])


def _is_global_mean(node: Node) -> bool:
    rank = len(node.args[0].meta["val"].shape)
    if rank != 4:
        return False
    return sorted(int(axis) % rank for axis in node.args[1]) == [2, 3]


def _short(target: object) -> str:
    return str(target).removeprefix("aten.").split(".")[0]
