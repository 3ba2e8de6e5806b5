"""MobileNetV3: A. Howard et al., arXiv:1905.02244, tables 1 and 2."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from examples.models.blocks import ConvNormAct, SqueezeExcitation, divisible, pooled

# Batch norm's epsilon (torchvision's; TensorFlow's default).
Conv = partial(ConvNormAct, eps=0.001)


class Row(NamedTuple):
    """A row of the paper's tables: kernel, expansion, channels, SE, hard-swish, stride."""

    size: int
    expanded: int
    outputs: int
    se: bool
    hs: bool
    stride: int
    dilation: int = 1


LARGE = (
    *(Row(3, 16, 16, False, False, 1), Row(3, 64, 24, False, False, 2)),
    *(Row(3, 72, 24, False, False, 1), Row(5, 72, 40, True, False, 2)),
    *(Row(5, 120, 40, True, False, 1), Row(5, 120, 40, True, False, 1)),
    *(Row(3, 240, 80, False, True, 2), Row(3, 200, 80, False, True, 1)),
    *(Row(3, 184, 80, False, True, 1), Row(3, 184, 80, False, True, 1)),
    *(Row(3, 480, 112, True, True, 1), Row(3, 672, 112, True, True, 1)),
    *(Row(5, 672, 160, True, True, 2), Row(5, 960, 160, True, True, 1)),
    Row(5, 960, 160, True, True, 1),
)
SMALL = (
    *(Row(3, 16, 16, True, False, 2), Row(3, 72, 24, False, False, 2)),
    *(Row(3, 88, 24, False, False, 1), Row(5, 96, 40, True, True, 2)),
    *(Row(5, 240, 40, True, True, 1), Row(5, 240, 40, True, True, 1)),
    *(Row(5, 120, 48, True, True, 1), Row(5, 144, 48, True, True, 1)),
    *(Row(5, 288, 96, True, True, 2), Row(5, 576, 96, True, True, 1)),
    Row(5, 576, 96, True, True, 1),
)


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, squeeze-and-excite, project (figure 4)."""

    def __init__(self, inputs: int, row: Row, width: float) -> None:
        super().__init__()
        hidden, outputs = divisible(row.expanded * width), divisible(row.outputs * width)
        act = nn.Hardswish if row.hs else nn.ReLU
        stride = 1 if row.dilation > 1 else row.stride
        layers: list[nn.Module] = [] if hidden == inputs else [Conv(inputs, hidden, 1, act=act)]
        layers.append(Conv(hidden, hidden, row.size, stride, hidden, row.dilation, act))
        if row.se:
            squeezed = divisible(hidden // 4)
            layers.append(SqueezeExcitation(hidden, squeezed, gate=nn.Hardsigmoid))
        layers.append(Conv(hidden, outputs, 1, act=None))
        self.block = nn.Sequential(*layers)
        self.shortcut = row.stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.block(x) + x if self.shortcut else self.block(x)


def features(rows: tuple[Row, ...], width: float = 1.0) -> nn.Sequential:
    """Everything before the pooling; the last map has six times the last row's channels."""
    channels = divisible(16 * width)
    layers: list[nn.Module] = [Conv(3, channels, 3, 2, act=nn.Hardswish)]
    for row in rows:
        layers.append(InvertedResidual(channels, row, width))
        channels = divisible(row.outputs * width)
    layers.append(Conv(channels, 6 * channels, 1, act=nn.Hardswish))
    return nn.Sequential(*layers)


class MobileNetV3(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(
        self, rows: tuple[Row, ...], last: int, num_classes: int = 1000, width: float = 1.0
    ) -> None:
        super().__init__()
        self.features = features(rows, width)
        wide = divisible(last * width)
        self.classifier = nn.Sequential(
            nn.Linear(6 * divisible(rows[-1].outputs * width), wide),
            nn.Hardswish(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(wide, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.classifier(pooled(self.features(x)))


def mobilenet_v3_large(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """MobileNetV3-Large; 5.5 million parameters."""
    return MobileNetV3(LARGE, 1280, num_classes, width)


def mobilenet_v3_small(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """MobileNetV3-Small; 2.5 million parameters."""
    return MobileNetV3(SMALL, 1024, num_classes, width)
