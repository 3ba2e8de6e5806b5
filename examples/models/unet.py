"""U-Net: O. Ronneberger et al., arXiv:1505.04597, figure 1.

With padding, so that the answer has the picture's size, and batch norm (arXiv:1502.03167).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from examples.models.blocks import ConvNormAct


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions."""
    return nn.Sequential(ConvNormAct(inputs, outputs), ConvNormAct(outputs, outputs))


class UNet(nn.Module):
    """[N, 3, H, W] to [N, num_classes, H, W]; sides are multiples of 2 ** depth."""

    def __init__(self, num_classes: int = 2, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.inward = nn.ModuleList([double_conv(3, width)])
        self.upward, self.outward = nn.ModuleList(), nn.ModuleList()
        for narrow, wide in pairwise(widths):
            self.inward.append(double_conv(narrow, wide))
            self.upward.insert(0, nn.ConvTranspose2d(wide, narrow, 2, 2))
            self.outward.insert(0, double_conv(wide, narrow))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes, H, W]."""
        maps = [self.inward[0](x)]
        for block in list(self.inward)[1:]:
            maps.append(block(self.pool(maps[-1])))
        x = maps.pop()
        for up, block in zip(self.upward, self.outward, strict=True):
            x = block(torch.cat([maps.pop(), up(x)], 1))
        return self.head(x)


def unet(num_classes: int = 2, width: int = 64, depth: int = 4) -> nn.Module:
    """U-Net; 31.0 million parameters."""
    return UNet(num_classes, width, depth)
