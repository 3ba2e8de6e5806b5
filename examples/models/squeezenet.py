"""SqueezeNet 1.1: F. Iandola et al., arXiv:1602.07360, in the authors' cheaper later form."""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import divisible


class Fire(nn.Module):
    """A narrow 1x1 convolution, then 1x1 and 3x3 side by side (figure 1)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, 2 * expanded, H, W]."""
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]; the classifier is a convolution, then the mean."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        channels = divisible(64 * width)
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2), nn.ReLU(inplace=True)]
        for stage in (((16, 64),) * 2, ((32, 128),) * 2, ((48, 192),) * 2 + ((64, 256),) * 2):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            for squeezed, expanded in stage:
                wide = divisible(expanded * width)
                layers.append(Fire(channels, divisible(squeezed * width), wide))
                channels = 2 * wide
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Conv2d(channels, num_classes, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return torch.flatten(self.classifier(self.features(x)), 1)


def squeezenet1_1(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """SqueezeNet 1.1; 1.2 million parameters."""
    return SqueezeNet(num_classes, width)
