"""VGG: K. Simonyan, A. Zisserman, arXiv:1409.1556, table 1, configuration D."""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import divisible

# Channels of the convolutions of each stage; a 2x2 max pooling ends a stage.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]; `grid` is the side of the map that dense layers see."""

    def __init__(
        self,
        norm: bool,
        num_classes: int = 1000,
        width: float = 1.0,
        grid: int = 7,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in STAGES:
            for outputs in (divisible(n * width) for n in stage):
                layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
                if norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU(inplace=True))
                channels = outputs
            layers.append(nn.MaxPool2d(2, 2))
        dense = divisible(4096 * width)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        self.classifier = nn.Sequential(
            nn.Linear(channels * grid * grid, dense),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(dense, dense),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(dense, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg16(
    num_classes: int = 1000, width: float = 1.0, grid: int = 7, dropout: float = 0.5
) -> nn.Module:
    """VGG-16; 138.4 million parameters."""
    return VGG(False, num_classes, width, grid, dropout)


def vgg16_bn(
    num_classes: int = 1000, width: float = 1.0, grid: int = 7, dropout: float = 0.5
) -> nn.Module:
    """VGG-16 with batch norm (arXiv:1502.03167) after each convolution."""
    return VGG(True, num_classes, width, grid, dropout)
