"""Turns counts into the tables of rANS: few runs of symbols with one weight each.

How many runs there are is a matter of minimum description length (P. Kontkanen, P. Myllymäki, "MDL
histogram density estimation", AISTATS 2007): a run more must save more than it takes in the
package.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from runtimes.rans import MAX_WEIGHT_CODE, frequencies, read_weights
from runtimes.untrusted import Cursor

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

RUN_BITS: Final = 11.0  # what a run takes in the package, about, once its plan is compressed


def histogram(counts: Integers) -> bytes:
    """The table for symbols that occur this often: (run - 1, weight code) for each run.

    Symbols that never occur get no weight where that pays, and every other gets one.
    """
    ends = _runs(counts.astype(np.float64))
    table = bytearray()
    total = int(counts.sum())
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        mass = int(counts[begin:end].sum())
        table += bytes([end - begin - 1, _code(mass / ((end - begin) * total)) if mass else 0])
    return bytes(table)


def slots_of(table: bytes, symbols: int, *, escape: int | None = None) -> Integers:
    """The frequencies that a reader makes of a table, [256]; `escape` gets a slot at least."""
    weights = read_weights(Cursor(memoryview(table), "table"), symbols)
    if escape is not None:
        weights[escape] = max(1, int(weights[escape]))
    (slots,) = frequencies(weights[None])
    return np.asarray(slots)


def _runs(counts: Reals) -> list[int]:
    """Where the runs of the shortest description end."""
    size = len(counts)
    sums = np.concatenate(([0.0], np.cumsum(counts)))
    best = np.zeros(size + 1)
    before = np.zeros(size + 1, np.int64)
    for end in range(1, size + 1):
        begins = np.arange(max(0, end - 256), end)
        mass = sums[end] - sums[begins]
        # Bits of the symbols in the run, but for a term that is the same for all cuts.
        bits = -mass * np.log2(np.maximum(mass, 1) / (end - begins))
        costs = best[begins] + bits + RUN_BITS
        pick = int(costs.argmin())
        best[end], before[end] = costs[pick], begins[pick]
    ends = [size]
    while before[ends[-1]]:
        ends.append(int(before[ends[-1]]))
    return ends[::-1]


def _code(share: float) -> int:
    """The weight code of a symbol's share: the largest code is a share of 1."""
    return min(max(1, MAX_WEIGHT_CODE + round(8 * math.log2(share))), MAX_WEIGHT_CODE)
