"""A one-stage detector of the YOLO family, of nano size.

CSP blocks (C.-Y. Wang et al., arXiv:1911.11929) and spatial pyramid pooling (K. He et al.,
arXiv:1406.4729) as in YOLOv4 (A. Bochkovskiy et al., arXiv:2004.10934), a path aggregation neck
(S. Liu et al., arXiv:1803.01534), SiLU, three heads of three anchors. Decoding and suppression of
overlaps are left to the application, as is usual on devices.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from examples.models.blocks import ConvNormAct, divisible

Conv = partial(ConvNormAct, act=nn.SiLU)
ANCHORS = 3


class Residual(nn.Module):
    """1x1 and 3x3 convolution, with a shortcut in the backbone."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.squeeze, self.mix = Conv(channels, channels, 1), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same shape."""
        y = self.mix(self.squeeze(x))
        return x + y if self.shortcut else y


class CspBlock(nn.Module):
    """Residual blocks on one half of the channels; the other half passes by."""

    def __init__(self, inputs: int, outputs: int, count: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.left, self.right = Conv(inputs, half, 1), Conv(inputs, half, 1)
        self.blocks = nn.Sequential(*(Residual(half, shortcut) for _ in range(count)))
        self.join = Conv(2 * half, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        return self.join(torch.cat([self.blocks(self.left(x)), self.right(x)], 1))


class Sppf(nn.Module):
    """Pyramid pooling in its fast form: three 5x5 max poolings in a row see 5, 9 and 13 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = Conv(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = Conv(channels // 2 * 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to the same shape."""
        maps = [self.squeeze(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.join(torch.cat(maps, 1))


class Yolo(nn.Module):
    """[N, 3, H, W] to three maps [N, 3 * (5 + num_classes), H / s, W / s], s = 8, 16, 32."""

    def __init__(self, num_classes: int = 80, width: float = 0.25) -> None:
        super().__init__()
        a, b, c, d, e = (divisible(n * width) for n in (64, 128, 256, 512, 1024))
        self.stem = nn.Sequential(Conv(3, a, 6, 2), Conv(a, b, 3, 2), CspBlock(b, b, 1))
        # A kernel of 6 at stride 2 takes two pixels of padding on each side.
        self.stem[0][0].padding = (2, 2)
        self.stage3 = nn.Sequential(Conv(b, c, 3, 2), CspBlock(c, c, 2))
        self.stage4 = nn.Sequential(Conv(c, d, 3, 2), CspBlock(d, d, 3))
        self.stage5 = nn.Sequential(Conv(d, e, 3, 2), CspBlock(e, e, 1), Sppf(e))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral5, self.lateral4 = Conv(e, d, 1), Conv(d, c, 1)
        self.up4, self.up3 = CspBlock(2 * d, d, 1, False), CspBlock(2 * c, c, 1, False)
        self.down4, self.down5 = Conv(c, c, 3, 2), Conv(d, d, 3, 2)
        self.out4, self.out5 = CspBlock(2 * c, d, 1, False), CspBlock(2 * d, e, 1, False)
        outputs = ANCHORS * (5 + num_classes)
        self.heads = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in (c, d, e))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[N, 3, H, W], H and W multiples of 32, to the three heads' maps, finest first."""
        map3 = self.stage3(self.stem(x))
        map4 = self.stage4(map3)
        lateral5 = self.lateral5(self.stage5(map4))
        map4 = self.up4(torch.cat([self.upsample(lateral5), map4], 1))
        lateral4 = self.lateral4(map4)
        map3 = self.up3(torch.cat([self.upsample(lateral4), map3], 1))
        map4 = self.out4(torch.cat([self.down4(map3), lateral4], 1))
        map5 = self.out5(torch.cat([self.down5(map4), lateral5], 1))
        return self.heads[0](map3), self.heads[1](map4), self.heads[2](map5)


def yolo_nano(num_classes: int = 80, width: float = 0.25) -> nn.Module:
    """The detector at a quarter of full width; 1.9 million parameters."""
    return Yolo(num_classes, width)
