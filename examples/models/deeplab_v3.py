"""DeepLabV3 on MobileNetV3-Large: L.-C. Chen et al., arXiv:1706.05587, figure 5; arXiv:1905.02244.

The backbone's last stage is dilated instead of strided, so that maps end at a sixteenth.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from examples.models.blocks import ConvNormAct, divisible
from examples.models.mobilenet_v3 import LARGE, features

RATES = (12, 24, 36)


def resized(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Bilinear, half-pixel centres."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ImagePooling(nn.Sequential):
    """The whole picture's mean, spread over the map again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *ConvNormAct(inputs, outputs, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        return resized(super().forward(x), x.shape[-2:])


class AtrousPyramid(nn.Module):
    """Convolutions of several dilations side by side, and the picture's mean (section 3.3)."""

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        branches: list[nn.Module] = [ConvNormAct(inputs, outputs, 1)]
        branches += [ConvNormAct(inputs, outputs, 3, dilation=rate) for rate in rates]
        self.convs = nn.ModuleList([*branches, ImagePooling(inputs, outputs)])
        joined = ConvNormAct(len(self.convs) * outputs, outputs, 1)
        self.project = nn.Sequential(*joined, nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        return self.project(torch.cat([conv(x) for conv in self.convs], 1))


class DeepLabV3(nn.Module):
    """[N, 3, H, W] to [N, num_classes, H, W]."""

    def __init__(
        self,
        num_classes: int = 21,
        width: float = 1.0,
        head: int = 256,
        rates: tuple[int, ...] = RATES,
    ) -> None:
        super().__init__()
        rows = (*LARGE[:-3], *(row._replace(dilation=2) for row in LARGE[-3:]))
        self.backbone = features(rows, width)
        self.classifier = nn.Sequential(
            AtrousPyramid(6 * divisible(rows[-1].outputs * width), head, rates),
            *ConvNormAct(head, head),
            nn.Conv2d(head, num_classes, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes, H, W]."""
        return resized(self.classifier(self.backbone(x)), x.shape[-2:])


def deeplab_v3(
    num_classes: int = 21, width: float = 1.0, head: int = 256, rates: tuple[int, ...] = RATES
) -> nn.Module:
    """Torchvision's deeplabv3_mobilenet_v3_large without its auxiliary head; 11.0 M parameters."""
    return DeepLabV3(num_classes, width, head, tuple(rates))
