"""MnasNet-B1: M. Tan et al., arXiv:1807.11626, figure 7, without squeeze-and-excite."""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import divisible

# Channels, kernel, stride, expansion, repeats.
STACKS = (
    *((24, 3, 2, 3, 3), (40, 5, 2, 3, 3), (80, 5, 2, 6, 3)),
    *((96, 3, 1, 6, 2), (192, 5, 2, 6, 4), (320, 3, 1, 6, 1)),
)


def conv_bn(
    inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
) -> list[nn.Module]:
    """Convolution, batch norm and, unless told otherwise, ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs)]
    return [*layers, nn.ReLU(inplace=True)] if relu else layers


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            *conv_bn(inputs, hidden),
            *conv_bn(hidden, hidden, size, stride, hidden),
            *conv_bn(hidden, outputs, relu=False),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.layers(x) + x if self.shortcut else self.layers(x)


class MNASNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        stem, channels = divisible(32 * width), divisible(16 * width)
        layers = conv_bn(3, stem, 3, 2) + conv_bn(stem, stem, 3, 1, stem)
        layers += conv_bn(stem, channels, relu=False)
        for full, size, stride, expansion, count in STACKS:
            outputs = divisible(full * width)
            blocks = []
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, size, step, expansion))
                channels = outputs
            layers.append(nn.Sequential(*blocks))
        self.layers = nn.Sequential(*layers, *conv_bn(channels, 1280))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(self.layers(x).mean([2, 3]))


def mnasnet1_0(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """MnasNet-B1; 4.4 million parameters."""
    return MNASNet(num_classes, width)
