"""Code books: a layer's weights share a few values of any spacing, found by k-means.

S. Han et al., "Deep Compression", arXiv:1510.00149, section 3: centroids start evenly spaced over
the range of the weights, and in training the gradients of all weights of a centroid are added up to
move it. Here the sum is divided by their number: that is the gradient of the weights with all
but their common movement taken out, so that the learning rate which suits single weights suits
centroids as well, and any optimizer moves the weights of a centroid alike.

The values of a code book are rounded to a fine grid of the layer's largest one (`CODE_STEPS`
integers to either side), so that int8 integers carry them and batch norm's fold, which scales
channels, leaves their number as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

CODE_STEPS = 58
"""The largest centroid starts at this level, with room to grow to `levels.LARGEST_LEVEL`."""
ROUNDS = 30
FITTED_VALUES = 1 << 20


@dataclass
class CodeBook:
    """Which centroid each weight of a layer belongs to.

    Attributes:
        labels: uint8, the weight's shape.
        count: how many centroids there are.
    """

    labels: torch.Tensor
    count: int

    def means(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Each value replaced by the mean of its centroid's; 0 where `mask` is False."""
        labels = self.labels.to(values.device).flatten().long()
        live = torch.ones_like(values) if mask is None else mask.to(values)
        sums = values.new_zeros(self.count).index_add_(0, labels, (values * live).flatten())
        sizes = values.new_zeros(self.count).index_add_(0, labels, live.flatten())
        means = sums / sizes.clamp(min=1.0)
        return means[labels].reshape(values.shape) * live


def fit_codes(
    weight: torch.Tensor, mask: torch.Tensor | None, count: int, fitted: int = FITTED_VALUES
) -> tuple[CodeBook, float]:
    """Cluster the live weights of a layer by k-means.

    Args:
        weight: any shape.
        mask: False where a weight is pruned.
        count: centroids, at most 255; fewer where there are fewer different weights.
        fitted: about how many weights are looked at for the centroids.

    Returns:
        The code book, and the step of the grid that its values are rounded to.
    """
    values = weight.detach().flatten().float()
    live = values if mask is None else values[mask.flatten()]
    if live.numel() == 0 or not bool(live.abs().max() > 0):
        return CodeBook(torch.zeros_like(weight, dtype=torch.uint8), 1), 1.0
    centers = _lloyd(live[:: max(1, live.numel() // fitted)], count)
    borders = (centers[1:] + centers[:-1]) / 2
    labels = torch.bucketize(values, borders).to(torch.uint8).reshape(weight.shape)
    return CodeBook(labels, len(centers)), float(live.abs().max()) / CODE_STEPS


def _lloyd(values: torch.Tensor, count: int) -> torch.Tensor:
    """Centroids in ascending order, from evenly spaced ones (section 3.2 of the paper)."""
    low, high = values.min(), values.max()
    centers = torch.linspace(float(low), float(high), count, device=values.device).unique()
    for _ in range(ROUNDS):
        labels = torch.bucketize(values, (centers[1:] + centers[:-1]) / 2)
        sizes = torch.bincount(labels, minlength=len(centers))
        sums = torch.zeros_like(centers).index_add_(0, labels, values)
        moved = (sums / sizes.clamp(min=1))[sizes > 0]
        if len(moved) == len(centers) and torch.equal(moved, centers):
            break
        centers = moved
    return centers


class ShareGradients(torch.autograd.Function):
    """The weight as it is; its gradient is the mean over each centroid's weights."""

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, book: CodeBook, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Any shape to the same shape."""
        ctx.book, ctx.mask = book, mask
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The shared gradient; none reaches pruned weights."""
        return ctx.book.means(gradients[0], ctx.mask), None, None
