"""Histograms of values that come batch by batch, in memory that does not grow with the batches.

Bins are a power of two wide and lie on multiples of their width. Where a value does not fit, pairs
of bins are joined until it does: that is exact, as a bin of twice the width holds whole old bins.
So the histogram depends neither on the order of batches nor on how they were cut.
"""

from __future__ import annotations

import math

import numpy as np
import torch

BINS = 1 << 14
"""Half of them for negative values. The largest value lies in the outer half of its side, so that
at least 4096 bins cover it: 16 for each of the 256 steps of int8. 128 KiB a histogram."""

CHUNK = 1 << 20
"""Values that are counted at once; bounds the memory of counting."""


class Histogram:
    """How often values of each size came.

    Attributes:
        low: the smallest value so far; infinity before the first.
        high: the largest value so far; minus infinity before the first.
        width: of a bin, a power of two; 0 while only zeros came.
        counts: int64 [BINS]; bin i holds values in [(i - BINS / 2) * width, ... + width).
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.width = 0.0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: torch.Tensor) -> None:
        """Count all values of a tensor of any shape.

        Raises:
            ValueError: one of them is not finite.
        """
        if not values.numel():
            return
        low, high = (float(end) for end in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("a value is not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(width_for(max(-low, high)))
        scale = 1.0 / self.width if self.width else 0.0
        for chunk in values.detach().flatten().split(CHUNK):
            index = chunk.double() if self._is_tiny() else chunk
            index = (index * scale).floor_()
            if low < 0:  # a negative value that underflows still lies below zero
                index = torch.where(chunk < 0, index.clamp_max(-1), index)
            index = index.to(torch.int32).add_(BINS // 2)
            self.counts += torch.bincount(index, minlength=BINS).numpy()

    def merge(self, other: Histogram) -> None:
        """Count what another histogram has counted."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        copy = Histogram()
        copy.width, copy.counts = other.width, other.counts.copy()
        width = max(self.width, other.width)
        copy._widen(width)
        self._widen(width)
        self.counts += copy.counts

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres (float64) and counts (int64) of the bins that hold values."""
        filled = np.flatnonzero(self.counts)
        if not self.width:
            return np.zeros(len(filled)), self.counts[filled]
        return (filled - BINS // 2 + 0.5) * self.width, self.counts[filled]

    def _is_tiny(self) -> bool:
        """Whether 1 / width does not fit float32."""
        return 0.0 < self.width < 2.0**-120

    def _widen(self, width: float) -> None:
        if width <= self.width:
            return
        if self.width:
            for _ in range(round(math.log2(width / self.width))):
                pairs = self.counts.reshape(-1, 2).sum(1)
                quarter = BINS // 4
                self.counts = np.zeros(BINS, np.int64)
                self.counts[quarter : 3 * quarter] = pairs
        self.width = width


def width_for(largest: float) -> float:
    """The narrowest power of two with which `largest` in magnitude still has a bin; 0 for 0."""
    if largest <= 0.0:
        return 0.0
    _, exponent = math.frexp(largest)  # largest < 2 ** exponent
    return math.ldexp(1.0, exponent - int(math.log2(BINS // 2)))
