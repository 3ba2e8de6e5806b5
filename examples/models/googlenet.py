"""GoogLeNet: C. Szegedy et al., arXiv:1409.4842, table 1, without the auxiliary classifiers.

With batch norm (arXiv:1502.03167) and, as in torchvision and the TensorFlow original, 3x3 where the
paper has 5x5.
"""

from __future__ import annotations

import torch
from torch import nn

from examples.models.blocks import divisible, pooled


class BasicConv2d(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side (figure 2b); `sizes` is a row of table 1."""

    def __init__(self, inputs: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        one, three_in, three, five_in, five, pool = sizes
        self.branch1 = BasicConv2d(inputs, one)
        self.branch2 = nn.Sequential(BasicConv2d(inputs, three_in), BasicConv2d(three_in, three, 3))
        self.branch3 = nn.Sequential(BasicConv2d(inputs, five_in), BasicConv2d(five_in, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), BasicConv2d(inputs, pool))
        self.outputs = one + three + five + pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


STAGES = {
    "3": ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    "4": (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    "5": ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
}


class GoogLeNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        a, b = divisible(64 * width), divisible(192 * width)
        self.conv1 = BasicConv2d(3, a, 7, 2)
        self.conv2 = BasicConv2d(a, a)
        self.conv3 = BasicConv2d(a, b, 3)
        self.stages: list[list[str]] = []
        for stage, rows in STAGES.items():
            names = [f"inception{stage}{letter}" for letter in "abcde"[: len(rows)]]
            for name, row in zip(names, rows, strict=True):
                block = Inception(b, tuple(divisible(n * width) for n in row))
                self.add_module(name, block)
                b = block.outputs
            self.stages.append(names)
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(b, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        x = self.conv3(self.conv2(self.maxpool(self.conv1(x))))
        for pool, names in zip(
            (self.maxpool, self.maxpool, self.maxpool4), self.stages, strict=True
        ):
            x = pool(x)
            for name in names:
                x = self.get_submodule(name)(x)
        return self.fc(self.dropout(pooled(x)))


def googlenet(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """GoogLeNet; 6.6 million parameters."""
    return GoogLeNet(num_classes, width)
