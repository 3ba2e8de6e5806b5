"""ConvNeXt-Tiny: Z. Liu et al., arXiv:2201.03545, section 2 and table 9."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

Norm = partial(nn.LayerNorm, eps=1e-6)


class Permute(nn.Module):
    """Reorder the axes."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any tensor with as many axes."""
        return x.permute(*self.axes)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of [N, C, H, W]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    """Depthwise 7x7, layer norm, and two dense layers with GELU between (figure 4)."""

    def __init__(self, channels: int, layer_scale: float) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            Norm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same shape."""
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(
        self,
        depths: tuple[int, ...],
        num_classes: int = 1000,
        width: int = 96,
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, width, 4, 4), LayerNorm2d(width, eps=1e-6))
        layers: list[nn.Module] = [stem]
        channels = width
        for stage, depth in enumerate(depths):
            if stage > 0:
                halve = nn.Conv2d(channels, 2 * channels, 2, 2)
                layers.append(nn.Sequential(LayerNorm2d(channels, eps=1e-6), halve))
                channels *= 2
            layers.append(nn.Sequential(*(CNBlock(channels, layer_scale) for _ in range(depth))))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            LayerNorm2d(channels, eps=1e-6), nn.Flatten(1), nn.Linear(channels, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(self.avgpool(self.features(x)))


def convnext_tiny(
    num_classes: int = 1000,
    width: int = 96,
    depths: tuple[int, ...] = (3, 3, 9, 3),
    layer_scale: float = 1e-6,
) -> nn.Module:
    """ConvNeXt-Tiny; 28.6 million parameters.

    Training starts from `layer_scale` 1e-6; with random weights that leaves the blocks without a
    voice, so tests take a scale as trained networks have it.
    """
    return ConvNeXt(tuple(depths), num_classes, width, layer_scale)
