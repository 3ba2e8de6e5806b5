"""SSDLite on MobileNetV2: W. Liu et al., arXiv:1512.02325; M. Sandler et al., arXiv:1801.04381.

Section 6.2 of the latter: six maps, each with two depthwise separable predictors. Priors, decoding
and suppression of overlaps are left to the application.
"""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import ConvNormAct, anchor_rows, divisible
from examples.models.mobilenet_v2 import MobileNetV2

ANCHORS = 6
# The map at a sixteenth is inside this block: its expansion, six times the input's channels.
TAP = 14


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 depthwise convolution, batch norm, ReLU6, 1x1 convolution with bias."""
    depthwise = ConvNormAct(inputs, inputs, 3, groups=inputs, act=nn.ReLU6)
    return nn.Sequential(*depthwise, nn.Conv2d(inputs, outputs, 1))


def extra(inputs: int, outputs: int) -> nn.Sequential:
    """A further map of half the side: narrow 1x1, depthwise 3x3 of stride 2, 1x1."""
    half = outputs // 2
    return nn.Sequential(
        ConvNormAct(inputs, half, 1, act=nn.ReLU6),
        ConvNormAct(half, half, 3, 2, half, act=nn.ReLU6),
        ConvNormAct(half, outputs, 1, act=nn.ReLU6),
    )


class SSDLite(nn.Module):
    """[N, 3, 320, 320] to boxes [N, anchors, 4] and scores [N, anchors, num_classes]."""

    def __init__(self, num_classes: int = 91, width: float = 1.0) -> None:
        super().__init__()
        backbone = MobileNetV2(width=width).features
        self.first = backbone[:TAP]
        # The tapped block opens up: its expansion is a map of its own.
        self.expand = backbone[TAP].conv[0]
        self.rest = nn.Sequential(*backbone[TAP].conv[1:], *backbone[TAP + 1 :])
        channels = [self.expand[0].out_channels, backbone[-1][0].out_channels]
        self.extras = nn.ModuleList()
        for outputs in (divisible(n * width) for n in (512, 256, 256, 128)):
            self.extras.append(extra(channels[-1], outputs))
            channels.append(outputs)
        self.boxes = nn.ModuleList(separable(n, ANCHORS * 4) for n in channels)
        self.scores = nn.ModuleList(separable(n, ANCHORS * num_classes) for n in channels)
        self.num_classes = num_classes

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, 3, H, W] to box offsets and class scores (logits), one row an anchor."""
        maps = [self.expand(self.first(x))]
        maps.append(self.rest(maps[-1]))
        for layer in self.extras:
            maps.append(layer(maps[-1]))
        return anchor_rows(self.boxes, maps, 4), anchor_rows(self.scores, maps, self.num_classes)


def ssdlite_mobilenet_v2(num_classes: int = 91, width: float = 1.0) -> nn.Module:
    """SSDLite for COCO's 90 classes and background."""
    return SSDLite(num_classes, width)
