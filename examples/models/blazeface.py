"""BlazeFace: V. Bazarevsky et al., arXiv:1907.05047, table 1 and figure 1; faces on phones.

With batch norm after each convolution pair. Anchors and blending are left to the application.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from examples.models.blocks import anchor_rows

# A box (4) and six key points (2 each).
COORDINATES = 16


def separable(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """5x5 depthwise convolution, 1x1 convolution, batch norm."""
    return [
        nn.Conv2d(inputs, inputs, 5, stride, 2, groups=inputs),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class BlazeBlock(nn.Module):
    """One or, with `inner` channels between, two separable convolutions, and a shortcut.

    The shortcut is max pooled at stride 2, and filled up with zero channels.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, inner: int | None = None
    ) -> None:
        super().__init__()
        layers = separable(inputs, outputs if inner is None else inner, stride)
        if inner is not None:
            layers += [nn.ReLU(), *separable(inner, outputs)]
        self.body = nn.Sequential(*layers)
        self.pool: nn.Module = nn.MaxPool2d(2) if stride == 2 else nn.Identity()
        self.missing = outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        shortcut = self.pool(x)
        if self.missing > 0:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
        return F.relu(self.body(x) + shortcut)


class BlazeFace(nn.Module):
    """[N, 3, 128, 128] to scores [N, 896, 1] (logits) and boxes with key points [N, 896, 16]."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        wide, full = 2 * width, 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            BlazeBlock(width, width),
            BlazeBlock(width, width),
            BlazeBlock(width, wide, 2),
            BlazeBlock(wide, wide),
            BlazeBlock(wide, wide),
            BlazeBlock(wide, full, 2, width),
            BlazeBlock(full, full, 1, width),
            BlazeBlock(full, full, 1, width),
        )
        self.tail = nn.Sequential(
            BlazeBlock(full, full, 2, width),
            BlazeBlock(full, full, 1, width),
            BlazeBlock(full, full, 1, width),
        )
        # Two anchors a place on the fine map, six on the coarse one (section 3.2).
        self.scores = nn.ModuleList(nn.Conv2d(full, anchors, 1) for anchors in (2, 6))
        self.boxes = nn.ModuleList(nn.Conv2d(full, anchors * COORDINATES, 1) for anchors in (2, 6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, 3, H, W] to scores and boxes, one row an anchor."""
        fine = self.stem(x)
        maps = (fine, self.tail(fine))
        return anchor_rows(self.scores, maps, 1), anchor_rows(self.boxes, maps, COORDINATES)


def blazeface(width: int = 24) -> nn.Module:
    """BlazeFace for the front camera; 72 thousand parameters."""
    return BlazeFace(width)
