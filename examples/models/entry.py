"""What the zoo knows of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from examples.models.settle import settle

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    Attributes:
        factory: makes the network.
        shape: of its input, [1, C, H, W].
        small: arguments that make it narrow, for tests.
        small_shape: of the narrow network's input.
        arguments: of the whole network, where the defaults are not those to show.
        outputs: how many tensors it gives.
    """

    factory: Callable[..., nn.Module]
    shape: Shape
    small: Mapping[str, Any]
    small_shape: Shape
    arguments: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def make(self, small: bool = False, seed: int = 0) -> nn.Module:
        """The network in evaluation mode with seeded random weights; torch's seed stays."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.factory(**(self.small if small else self.arguments)).eval()

    def settled(self, small: bool = False, seed: int = 0, count: int = 32) -> nn.Module:
        """The network with weights as lively as a trained one's; see `settle`."""
        return settle(self.make(small, seed), self.example(count, small, seed), seed)

    def example(self, count: int = 2, small: bool = False, seed: int = 0) -> torch.Tensor:
        """Random pictures [count, C, H, W] of zero mean, coarse and fine structure mixed."""
        channels, *sides = (self.small_shape if small else self.shape)[1:]
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn((count, channels, 5, 5), generator=generator)
        fine = torch.randn((count, channels, *sides), generator=generator)
        smooth = F.interpolate(coarse, tuple(sides), mode="bilinear", align_corners=False)
        return smooth + 0.3 * fine
