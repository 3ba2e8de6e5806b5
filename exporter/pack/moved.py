"""Codes a delta's weights given the old ones: the mirror of `runtimes.patch`.

How likely a weight is to change, and by how much, follows from how large it was: a pruned one
mostly stays zero, and of the others the small ones move least.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack.classes import code_runs
from exporter.pack.clusters import entropy_bits
from exporter.pack.streams import Coded, Device, squeeze
from runtimes.classes import DELTA_BLOCK_ITEMS
from runtimes.patch import class_of_old

Bytes = npt.NDArray[np.uint8]

# From these distances to zero on, an old weight is of the next class.
LIMITS: Final = ((1,), (1, 3, 9, 25), (1, 2, 4, 8, 16, 32, 64))
BYTES_PER_LANE: Final = 512  # a delta is small, and its time too
CLASS_BITS: Final = 160  # a class's tables, about


def code_moved(new: Bytes, old: Bytes, device: Device) -> tuple[Coded, ...]:
    """The streams of a group: plan, states, words, signs, escapes."""
    limits = min(LIMITS, key=lambda one: _bits(new, old, one))
    classes = class_of_old(np.array(limits, np.uint8), 0)[old]
    blocks = [slice(at, at + DELTA_BLOCK_ITEMS) for at in range(0, new.size, DELTA_BLOCK_ITEMS)]
    orders = [np.argsort(classes[block], kind="stable") for block in blocks]
    moves = (new - old).astype(np.uint8)
    count = len(limits) + 1
    coded = code_runs(
        np.concatenate([moves[block][order] for block, order in zip(blocks, orders, strict=True)]),
        np.tile(np.arange(count, dtype=np.uint8), len(blocks)),
        np.concatenate([np.bincount(classes[block], minlength=count) for block in blocks]),
        count,
        BYTES_PER_LANE,
    )
    plan = bytes([len(limits), *limits, 0]) + coded.plan(0)
    return (squeeze(plan, device), *coded.streams(device))


def estimated_bytes(new: Bytes, old: Bytes) -> float:
    """About what `code_moved` would take."""
    return min(_bits(new, old, limits) for limits in LIMITS) / 8 + 30


def _bits(new: Bytes, old: Bytes, limits: tuple[int, ...]) -> float:
    classes = class_of_old(np.array(limits, np.uint8), 0)[old]
    cells = classes.astype(np.int64) * 256 + (new - old).astype(np.uint8)
    counts = np.bincount(cells, minlength=256 * (len(limits) + 1)).reshape(-1, 256)
    return sum(entropy_bits(row) for row in counts) + CLASS_BITS * len(counts)
