"""DenseNet-121: G. Huang et al., arXiv:1608.06993, table 1, growth rate 32."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

BOTTLENECK = 4


class DenseLayer(nn.Module):
    """Batch norm, ReLU, convolution, twice; its output joins its input.

    The batch norms stand before their convolutions, behind a concatenation, so that not all of
    them can be folded.
    """

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, inputs + growth, H, W]."""
        new = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(new)))], 1)


def dense_block(inputs: int, count: int, growth: int) -> nn.Sequential:
    """`count` dense layers, named as torchvision names them."""
    names = (f"denselayer{index + 1}" for index in range(count))
    layers = (DenseLayer(inputs + index * growth, growth) for index in range(count))
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True)))


def transition(inputs: int) -> nn.Sequential:
    """Halve the channels and the map."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(self, depths: tuple[int, ...], num_classes: int = 1000, growth: int = 32) -> None:
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, channels, 7, 2, 3, bias=False),
                norm0=nn.BatchNorm2d(channels),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, 2, 1),
            )
        )
        for number, depth in enumerate(depths, 1):
            self.features.add_module(f"denseblock{number}", dense_block(channels, depth, growth))
            channels += depth * growth
            if number < len(depths):
                self.features.add_module(f"transition{number}", transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def densenet121(
    num_classes: int = 1000, growth: int = 32, depths: tuple[int, ...] = (6, 12, 24, 16)
) -> nn.Module:
    """DenseNet-121; 8.0 million parameters."""
    return DenseNet(tuple(depths), num_classes, growth)
