"""ShuffleNetV2 x1.0: N. Ma et al., arXiv:1807.11164, table 5."""

from __future__ import annotations

import torch
from torch import nn


def channel_shuffle(x: torch.Tensor) -> torch.Tensor:
    """Interleave the two halves of the channels; [N, C, H, W] to the same shape."""
    channels, height, width = x.shape[1:]
    x = x.reshape(-1, 2, channels // 2, height, width).transpose(1, 2)
    return x.reshape(-1, channels, height, width)


def pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    """1x1 convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def depthwise(channels: int, stride: int) -> list[nn.Module]:
    """3x3 depthwise convolution, batch norm."""
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class InvertedResidual(nn.Module):
    """Half of the channels pass by, or both halves are made anew at stride 2 (figure 3c, d)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(*depthwise(inputs, stride), *pointwise(inputs, half))
        self.branch2 = nn.Sequential(
            *pointwise(inputs if stride > 1 else half, half),
            *depthwise(half, stride),
            *pointwise(half, half),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        kept, changed = x.chunk(2, dim=1) if self.stride == 1 else (self.branch1(x), x)
        return channel_shuffle(torch.cat([kept, self.branch2(changed)], 1))


class ShuffleNetV2(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(
        self,
        num_classes: int = 1000,
        channels: tuple[int, ...] = (24, 116, 232, 464, 1024),
        repeats: tuple[int, ...] = (4, 8, 4),
    ) -> None:
        super().__init__()
        inputs, *stages, last = channels
        stem = nn.Conv2d(3, inputs, 3, 2, 1, bias=False)
        self.conv1 = nn.Sequential(stem, nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, (outputs, count) in enumerate(zip(stages, repeats, strict=True), 2):
            blocks = [InvertedResidual(inputs, outputs, 2)]
            blocks += [InvertedResidual(outputs, outputs, 1) for _ in range(count - 1)]
            self.add_module(f"stage{number}", nn.Sequential(*blocks))
            inputs = outputs
        self.conv5 = nn.Sequential(*pointwise(inputs, last))
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(x.mean([2, 3]))


def shufflenet_v2_x1_0(
    num_classes: int = 1000,
    channels: tuple[int, ...] = (24, 116, 232, 464, 1024),
    repeats: tuple[int, ...] = (4, 8, 4),
) -> nn.Module:
    """ShuffleNetV2 x1.0; 2.3 million parameters."""
    return ShuffleNetV2(num_classes, tuple(channels), tuple(repeats))
