"""DS-CNN, keyword spotting: Y. Zhang et al., arXiv:1711.07128; MLPerf Tiny, arXiv:2106.07597.

The input is 49 frames of 10 cepstral coefficients; biases before batch norms as in the benchmark.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def conv_bn(inputs: int, outputs: int, size: int, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class DSCNN(nn.Module):
    """[N, 1, 49, 10] to class probabilities [N, num_classes]."""

    def __init__(self, num_classes: int = 12, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, (10, 4), 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        layers = []
        for _ in range(depth):
            layers += conv_bn(width, width, 3, width) + conv_bn(width, width, 1)
        self.layers = nn.Sequential(nn.Dropout(0.2), *layers, nn.Dropout(0.4))
        self.pool = nn.AvgPool2d((25, 5))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, 49, 10] to [N, num_classes]; the benchmark's model ends in a softmax."""
        # TensorFlow's SAME for a kernel of (10, 4) at stride 2: the odd row of padding is last.
        x = self.stem(F.pad(x, (1, 1, 4, 5)))
        x = torch.flatten(self.pool(self.layers(x)), 1)
        return torch.softmax(self.fc(x), 1)


def ds_cnn(num_classes: int = 12, width: int = 64, depth: int = 4) -> nn.Module:
    """DS-CNN; 24 thousand parameters."""
    return DSCNN(num_classes, width, depth)
