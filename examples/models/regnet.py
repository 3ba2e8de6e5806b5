"""RegNetX-400MF and RegNetY-400MF: I. Radosavovic et al., arXiv:2003.13678, appendix B."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from examples.models.blocks import ConvNormAct, SqueezeExcitation, pooled


class Block(nn.Module):
    """1x1, grouped 3x3, squeeze-and-excite (Y), 1x1, with a shortcut (figure 4)."""

    def __init__(self, inputs: int, outputs: int, stride: int, group_width: int, se: bool) -> None:
        super().__init__()
        self.proj: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.proj = ConvNormAct(inputs, outputs, 1, stride, act=None)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["a"] = ConvNormAct(inputs, outputs, 1)
        layers["b"] = ConvNormAct(outputs, outputs, 3, stride, outputs // group_width)
        if se:
            # A quarter of the block's INPUT channels, as the paper's released models have it.
            layers["se"] = SqueezeExcitation(outputs, round(inputs / 4))
        layers["c"] = ConvNormAct(outputs, outputs, 1, act=None)
        self.f = nn.Sequential(layers)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.activation(self.proj(x) + self.f(x))


class RegNet(nn.Module):
    """[N, 3, 224, 224] to [N, num_classes]."""

    def __init__(
        self,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        group_width: int,
        se: bool,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 32, 3, 2)
        self.trunk_output = nn.Sequential()
        inputs = 32
        for stage, (outputs, depth) in enumerate(zip(widths, depths, strict=True), 1):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(depth):
                stride = 2 if index == 0 else 1
                block = Block(inputs, outputs, stride, group_width, se)
                blocks[f"block{stage}-{index}"] = block
                inputs = outputs
            self.trunk_output.add_module(f"block{stage}", nn.Sequential(blocks))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] to [N, num_classes]."""
        return self.fc(pooled(self.trunk_output(self.stem(x))))


def regnet_y_400mf(
    num_classes: int = 1000,
    widths: tuple[int, ...] = (48, 104, 208, 440),
    depths: tuple[int, ...] = (1, 3, 6, 6),
) -> nn.Module:
    """RegNetY-400MF, groups of 8 channels; 4.3 million parameters."""
    return RegNet(tuple(widths), tuple(depths), 8, True, num_classes)


def regnet_x_400mf(
    num_classes: int = 1000,
    widths: tuple[int, ...] = (32, 64, 160, 400),
    depths: tuple[int, ...] = (1, 2, 7, 12),
) -> nn.Module:
    """RegNetX-400MF, groups of 16 channels; 5.5 million parameters."""
    return RegNet(tuple(widths), tuple(depths), 16, False, num_classes)
