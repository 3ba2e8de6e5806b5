"""Blocks that several networks share, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

Activation = Callable[..., nn.Module] | None


def divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, never more than a tenth below it.

    The rule of the MobileNet papers (arXiv:1801.04381, section 6.1) for scaled widths.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvNormAct(nn.Sequential):
    """Convolution ("same" padding, no bias), batch norm, activation: entries 0, 1 and 2.

    [N, inputs, H, W] to [N, outputs, ceil(H / stride), ceil(W / stride)] for odd sizes.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        act: Activation = nn.ReLU,
        eps: float = 1e-5,
    ) -> None:
        pad = (size - 1) // 2 * dilation
        conv = nn.Conv2d(inputs, outputs, size, stride, pad, dilation, groups, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs, eps=eps)]
        if act is not None:
            layers.append(act(inplace=True))
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    """Scales channels by a gate computed from their means (Hu et al., arXiv:1709.01507)."""

    def __init__(
        self,
        channels: int,
        squeezed: int,
        act: Callable[..., nn.Module] = nn.ReLU,
        gate: Callable[..., nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = act()
        self.scale_activation = gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same shape."""
        gate = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return x * self.scale_activation(gate)


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Global average pooling: [N, C, H, W] to [N, C]."""
    return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


def anchor_rows(heads: nn.ModuleList, maps: Sequence[torch.Tensor], values: int) -> torch.Tensor:
    """Each head on its map, one row an anchor, as detectors list them.

    Args:
        heads: convolutions to anchors * values channels.
        maps: [N, C, H, W], one for each head.
        values: in a row.

    Returns:
        [N, the sum of H * W * anchors, values], places before anchors.
    """
    rows = []
    for head, features in zip(heads, maps, strict=True):
        x = head(features)
        count = x.shape[1] * x.shape[2] * x.shape[3] // values
        rows.append(x.permute(0, 2, 3, 1).reshape(-1, count, values))
    return torch.cat(rows, 1)
