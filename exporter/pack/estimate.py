"""What weights will take in a package, without packing them: tenths of a second at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack import classes
from exporter.pack.methods import Source, estimate_group
from exporter.pack.streams import ORDINARY

SAMPLED_ITEMS: Final = 1 << 23
"""Above this many weights in all, rows stand for their neighbours."""
SAMPLED_ROWS: Final = 128
"""That many of an array are looked at even then."""
SMALL_ITEMS: Final = 1 << 18
"""Up to here, methods that only ever win in small groups are estimated too."""


def row_stride(rows: int, items: int) -> int:
    """Every how many rows of an array are enough, where all arrays together have so many items."""
    return max(1, min(items // SAMPLED_ITEMS, rows // SAMPLED_ROWS))


def weight_bytes(
    weights: Sequence[npt.NDArray[np.int8]], rows: Sequence[int] | None = None
) -> float:
    """About what `pack` makes of weights, in bytes.

    Args:
        weights: integers as they ship, [out, ...] each.
        rows: how many rows each stands for, where they are samples of rows.
    """
    counts = map(len, weights) if rows is None else rows
    pairs = [(one, count) for one, count in zip(weights, counts, strict=True) if one.size]
    if not pairs:
        return 0.0
    matrices = [one.reshape(len(one), -1).view(np.uint8) for one, _ in pairs]
    times = [count / len(one) for one, count in pairs]
    size = sum(matrix.size for matrix in matrices)
    best = classes.estimated_bytes(matrices, columns=True, times=times)
    if size <= SMALL_ITEMS or best == math.inf:
        content = b"".join(one.tobytes() for one in matrices)
        source = Source("weights", 1, content, tuple(matrices))
        items = sum(matrix.size * many for matrix, many in zip(matrices, times, strict=True))
        best = min(best, estimate_group(source, ORDINARY) * items / size)
    return float(best)
