"""What each layer of a shipped file weighs: bytes, zeros, distinct levels, entropy."""

from __future__ import annotations

import numpy as np

from exporter.graph.model import Array


def entropy_bits(values: Array) -> float:
    """Order-0 entropy in bits for one value: no coder without context goes below (Shannon)."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def entropy_bytes(values: Array) -> float:
    """Bytes for all values at their order-0 entropy, or as float32 where that is less."""
    return min(entropy_bits(values), 32.0) * values.size / 8.0
