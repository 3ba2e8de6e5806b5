"""AlexNet: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks".

arXiv:1404.5997, the one-column form of A. Krizhevsky, I. Sutskever, G. Hinton, NIPS 2012.
"""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import divisible


class AlexNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]; `grid` is the side of the map that dense layers see."""

    def __init__(
        self, num_classes: int = 1000, width: float = 1.0, grid: int = 6, dropout: float = 0.5
    ) -> None:
        super().__init__()
        a, b, c, d, dense = (divisible(n * width) for n in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 11, 4, 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(d, d, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(d * grid * grid, dense),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(dense, dense),
            nn.ReLU(inplace=True),
            nn.Linear(dense, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def alexnet(
    num_classes: int = 1000, width: float = 1.0, grid: int = 6, dropout: float = 0.5
) -> nn.Module:
    """AlexNet; 61.1 million parameters."""
    return AlexNet(num_classes, width, grid, dropout)
