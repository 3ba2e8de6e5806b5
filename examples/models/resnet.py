"""ResNet and ResNeXt: K. He et al., arXiv:1512.03385; S. Xie et al., arXiv:1611.05431.

As torchvision has them: a bottleneck's stride is in its 3x3 convolution.
"""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """What both blocks share: `body`, and a shortcut that is projected where shapes change."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def body(self, x: torch.Tensor) -> torch.Tensor:
        """The residual."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, channels * expansion, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.body(x) + shortcut)


class BasicBlock(Block):
    """Two 3x3 convolutions (figure 5, left)."""

    def __init__(
        self, inputs: int, channels: int, stride: int, groups: int = 1, base: int = 64
    ) -> None:
        super().__init__(inputs, channels, stride)
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        """The residual."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(Block):
    """1x1, 3x3 (grouped in ResNeXt), 1x1 convolutions (figure 5, right)."""

    expansion = 4

    def __init__(
        self, inputs: int, channels: int, stride: int, groups: int = 1, base: int = 64
    ) -> None:
        super().__init__(inputs, channels, stride)
        inner = channels * base // 64 * groups
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * 4)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        """The residual."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(x)))))


class ResNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]; `width` is the first stage's, 64 in the paper.

    `zero_init_residual`: each block starts as its shortcut, so that a deep network learns from the
    first steps on (P. Goyal et al., arXiv:1706.02677, section 5.1).
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, ...],
        num_classes: int = 1000,
        width: int = 64,
        groups: int = 1,
        base: int = 64,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, depth in enumerate(depths):
            channels = width << stage
            layers = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(block(inputs, channels, stride, groups, base))
                inputs = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                    nn.init.zeros_(last.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(num_classes: int = 1000, width: int = 64) -> nn.Module:
    """ResNet-18; 11.7 million parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, width)


def resnet50(
    num_classes: int = 1000, width: int = 64, zero_init_residual: bool = False
) -> nn.Module:
    """ResNet-50; 25.6 million parameters."""
    return ResNet(
        Bottleneck, (3, 4, 6, 3), num_classes, width, zero_init_residual=zero_init_residual
    )


def resnext50_32x4d(
    num_classes: int = 1000, width: int = 64, groups: int = 32, base: int = 4
) -> nn.Module:
    """ResNeXt-50, 32 groups of 4 channels in its first stage; 25.0 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, width, groups, base)
