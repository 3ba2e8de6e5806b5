"""ESPCN, single picture super-resolution: W. Shi et al., arXiv:1609.05158, section 3.2."""

from __future__ import annotations

import torch
from torch import nn


class ESPCN(nn.Module):
    """Luminance [N, 1, H, W] to [N, 1, factor * H, factor * W]."""

    def __init__(self, factor: int = 3, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(width // 2, factor * factor, 3, padding=1),
            nn.PixelShuffle(factor),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, H, W] to [N, 1, factor * H, factor * W]."""
        return self.layers(x)


def espcn(factor: int = 3, width: int = 64) -> nn.Module:
    """ESPCN; 23 thousand parameters at factor 3."""
    return ESPCN(factor, width)
