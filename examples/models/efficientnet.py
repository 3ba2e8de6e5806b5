"""EfficientNet-B0 and -Lite0: M. Tan, Q. Le, arXiv:1905.11946, table 1.

Lite0 is the authors' form for integer hardware: no squeeze-and-excite, ReLU6 for SiLU.
"""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import Activation, ConvNormAct, SqueezeExcitation, divisible, pooled

# Expansion, kernel, stride, channels, repeats.
STAGES = (
    *((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3)),
    *((6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)),
)


class MBConv(nn.Module):
    """Expand, filter depthwise, squeeze-and-excite, project."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int, expansion: int, lite: bool
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        act: Activation = nn.ReLU6 if lite else nn.SiLU
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormAct(inputs, hidden, 1, act=act))
        layers.append(ConvNormAct(hidden, hidden, size, stride, hidden, act=act))
        if not lite:
            layers.append(SqueezeExcitation(hidden, max(1, inputs // 4), nn.SiLU))
        layers.append(ConvNormAct(hidden, outputs, 1, act=None))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.block(x) + x if self.shortcut else self.block(x)


class EfficientNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(self, lite: bool, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        channels, last = divisible(32 * width), divisible(1280 * width)
        act: Activation = nn.ReLU6 if lite else nn.SiLU
        layers: list[nn.Module] = [ConvNormAct(3, channels, 3, 2, act=act)]
        for expansion, size, stride, full, count in STAGES:
            outputs = divisible(full * width)
            blocks = []
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(MBConv(channels, outputs, size, step, expansion, lite))
                channels = outputs
            layers.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*layers, ConvNormAct(channels, last, 1, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(pooled(self.features(x)))


def efficientnet_b0(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """EfficientNet-B0; 5.3 million parameters."""
    return EfficientNet(False, num_classes, width)


def efficientnet_lite0(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """EfficientNet-Lite0; 4.7 million parameters."""
    return EfficientNet(True, num_classes, width)
