"""Real pictures of clothes, and ResNet-20 for them.

Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747; MIT): 60,000 pictures to train on
and 10,000 to judge by, 28x28, ten classes. Debian has them in the package dataset-fashion-mnist;
the environment variable FASHION_MNIST names a folder with the four files if they lie elsewhere.

Data sets come in sizes: `train` and `test` as they are, [28, 28, 1]; `train_rgb32` and so on padded
to 32x32 or enlarged to 64x64, in three equal channels, for networks made for photographs. `_20k`
has the first 20,000 pictures only.
"""

from __future__ import annotations

import gzip
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from examples.digits.digits import Block

FOLDER = Path("/usr/share/datasets/fashion-mnist")
PARTS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
SIDE = 28
FEWER = 20_000
IMAGES_HEADER, LABELS_HEADER = 16, 8


class ResNet20(nn.Module):
    """[N, 1, 28, 28] to ten logits: He et al., section 4.2, n = 3; 272 thousand parameters."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        inputs = width
        for stage in range(3):
            outputs = width << stage
            first = Block(inputs, outputs, 1 if stage == 0 else 2)
            rest = [Block(outputs, outputs, 1) for _ in range(2)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, 28, 28] to [N, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def resnet20(width: int = 16) -> nn.Module:
    """The network, untrained."""
    return ResNet20(width)


class Moved(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pictures moved by up to two pixels each way and mirrored half of the time, anew each time."""

    def __init__(
        self, frames: torch.Tensor, labels: torch.Tensor, repeat: int, channels: int
    ) -> None:
        self.frames, self.labels = frames, labels
        self.repeat, self.channels = repeat, channels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        padded = torch.nn.functional.pad(self.frames[index], (0, 0, 2, 2, 2, 2))
        top, left, mirrored = (torch.rand(3) * torch.tensor([5, 5, 2])).int().tolist()
        side = self.frames.shape[1]
        frame = padded[top : top + side, left : left + side]
        frame = frame.flip(1) if mirrored else frame
        return enlarged(frame, self.repeat, self.channels), self.labels[index]


def enlarged(frames: torch.Tensor, repeat: int, channels: int) -> torch.Tensor:
    """[..., H, W, 1] to [..., H * repeat, W * repeat, channels]: pixels and channels repeated."""
    large = frames.repeat_interleave(repeat, -3).repeat_interleave(repeat, -2)
    return large.expand(*large.shape[:-1], channels).contiguous()


@lru_cache(maxsize=2)
def pictures(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames [N, 28, 28, 1] uint8 and labels [N] int64 of "train" or "test".

    Raises:
        FileNotFoundError: the files are not there; says where they come from.
        ValueError: a file has another size than the data set has.
    """
    name, count = PARTS[part]
    folder = Path(os.environ.get("FASHION_MNIST", FOLDER))
    images = _read(folder / f"{name}-images-idx3-ubyte.gz", IMAGES_HEADER, count * SIDE**2)
    labels = _read(folder / f"{name}-labels-idx1-ubyte.gz", LABELS_HEADER, count)
    frames = images.reshape(count, SIDE, SIDE, 1)
    return torch.from_numpy(frames), torch.from_numpy(labels.astype(np.int64))


def _read(path: Path, header: int, expected: int) -> np.ndarray:
    """What lies behind the header of an IDX file of bytes."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: apt install dataset-fashion-mnist, or set FASHION_MNIST to the "
            "folder of Fashion-MNIST's four .gz files"
        )
    with gzip.open(path) as file:
        data = file.read(header + expected + 1)[header:]
    if len(data) != expected:
        raise ValueError(f"{path}: {expected} bytes expected, {len(data)} found")
    return np.frombuffer(data, np.uint8).copy()


def _train(count: int, pad: int = 0, repeat: int = 1, channels: int = 1) -> Moved:
    frames, labels = pictures("train")
    padded = torch.nn.functional.pad(frames[:count], (0, 0, pad, pad, pad, pad))
    return Moved(padded, labels[:count], repeat, channels)


def _test(pad: int = 0, repeat: int = 1, channels: int = 1) -> TensorDataset:
    frames, labels = pictures("test")
    padded = torch.nn.functional.pad(frames, (0, 0, pad, pad, pad, pad))
    return TensorDataset(enlarged(padded, repeat, channels), labels)


def train() -> Moved:
    """All 60,000 pictures, [28, 28, 1]."""
    return _train(60_000)


def train_20k() -> Moved:
    """The first 20,000 pictures, [28, 28, 1]."""
    return _train(FEWER)


def test() -> TensorDataset:
    """All 10,000 pictures that training never sees, [28, 28, 1]."""
    return _test()


def train_rgb32_20k() -> Moved:
    """The first 20,000 pictures, [32, 32, 3]."""
    return _train(FEWER, 2, 1, 3)


def test_rgb32() -> TensorDataset:
    """The 10,000 test pictures, [32, 32, 3]."""
    return _test(2, 1, 3)


def train_rgb64() -> Moved:
    """All 60,000, padded to 32x32 and enlarged to 64x64, in three equal channels."""
    return _train(60_000, 2, 2, 3)


def train_rgb64_20k() -> Moved:
    """The first 20,000 pictures, [64, 64, 3]."""
    return _train(FEWER, 2, 2, 3)


def test_rgb64() -> TensorDataset:
    """The 10,000 test pictures, [64, 64, 3]."""
    return _test(2, 2, 3)
