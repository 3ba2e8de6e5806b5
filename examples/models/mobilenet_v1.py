"""MobileNetV1: A. Howard et al., arXiv:1704.04861, table 1.

MLPerf Tiny's visual wake words network is the same at width 0.25, 96x96 and two classes, with
biases before its batch norms (C. Banbury et al., arXiv:2106.07597; Keras's default).
"""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import pooled

# Output channels and stride of each depthwise separable convolution.
LAYERS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def conv_bn(
    inputs: int, outputs: int, size: int, stride: int, groups: int, bias: bool
) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class MobileNetV1(nn.Module):
    """[N, 3, H, W] to [N, num_classes]."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0, bias: bool = False) -> None:
        super().__init__()
        channels = int(32 * width)
        layers = [nn.Sequential(*conv_bn(3, channels, 3, 2, 1, bias))]
        for full, stride in LAYERS:
            outputs = int(full * width)
            depthwise = conv_bn(channels, channels, 3, stride, channels, bias)
            layers.append(nn.Sequential(*depthwise, *conv_bn(channels, outputs, 1, 1, 1, bias)))
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(pooled(self.features(x)))


def mobilenet_v1(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """MobileNetV1; 4.2 million parameters."""
    return MobileNetV1(num_classes, width)


def mobilenet_v1_vww(num_classes: int = 2, width: float = 0.25) -> nn.Module:
    """MLPerf Tiny's person detection for 96x96 pictures; 0.22 million parameters."""
    return MobileNetV1(num_classes, width, bias=True)
