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

SAMPLED_ITEMS: Final = 1 << 22
"""Above this many weights, rows stand for their neighbours."""
SMALL_ITEMS: Final = 1 << 18
"""Up to here, methods that only ever win in small groups are estimated too."""


def row_stride(items: int) -> int:
    """Every how many rows of each array are enough for an estimate of so many weights."""
    return max(1, items // SAMPLED_ITEMS)


def weight_bytes(weights: Sequence[npt.NDArray[np.int8]], items: int | None = None) -> float:
    """About what `pack` makes of weights, in bytes.

    Args:
        weights: integers as they ship, [out, ...] each.
        items: how many weights they stand for, where they are samples of rows.
    """
    matrices = [one.reshape(len(one), -1).view(np.uint8) for one in weights if one.size]
    size = sum(one.size for one in matrices)
    if not size:
        return 0.0
    best = classes.estimated_bytes(matrices, columns=True)
    if size <= SMALL_ITEMS or best == math.inf:
        content = b"".join(one.tobytes() for one in matrices)
        source = Source("weights", 1, content, tuple(matrices))
        best = min(best, estimate_group(source, ORDINARY))
    return float(best) * (size if items is None else items) / size
