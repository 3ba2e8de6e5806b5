"""Finds the classes of class rANS: rows whose weights are distributed alike share a table.

Lloyd's algorithm on code lengths: a row goes to the class whose table codes it in the fewest bits,
its label included, and each table becomes that of its rows. Only estimates are made here, with
smoothed counts in place of tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Counts = Integers | Reals

ROUNDS: Final = 15
QUICK_ROUNDS: Final = 3
QUICK_CLASSES: Final = (12,)
CLASS_COUNTS: Final = (1, 6, 12, 20, 32, 48)  # beyond, tables and labels cost what they save
TABLE_BITS: Final = 18 * 8  # what a class takes, about, with its magnitudes and its mask
# What a class must save beside: a reader needs 16 KiB for its slots, and the time to fill them.
READER_BITS: Final = 32 * 8
LABELS_PACK_TO: Final = 0.9  # labels follow each other, and LZMA sees that
PRIOR_ROWS: Final = 4.0  # items of the average distribution that each table begins with


@dataclass(frozen=True)
class Clusters:
    """The class of each row, [rows], sorted so that heavier rows have higher ones.

    `bits` is about what the group takes with them.
    """

    labels: Bytes
    count: int
    bits: float


def cluster(
    histograms: Counts, owners: Integers, *, quick: bool = False, times: Counts | None = None
) -> Clusters:
    """The best of a few numbers of classes.

    Args:
        histograms: how often each symbol occurs in each row, [rows, symbols].
        owners: which span each row is of, [rows], ascending from 0.
        quick: try one number of classes, and briefly.
        times: how many rows each row stands for, [rows], where they are samples; their histograms
            count for all of those. One by default.
    """
    counts = [min(k, len(histograms)) for k in (QUICK_CLASSES if quick else CLASS_COUNTS)]
    rounds = QUICK_ROUNDS if quick else ROUNDS
    times = np.ones(len(histograms)) if times is None else times
    tries = [_lloyd(histograms, owners, times, count, rounds) for count in counts]
    return min(tries, key=lambda one: one.bits + READER_BITS * one.count)


def entropy_bits(counts: npt.ArrayLike) -> float:
    """Bits of symbols that occur this often, by their own distribution (order 0)."""
    live = np.asarray(counts, np.float64).reshape(-1)
    live = live[live > 0]
    return float(-(live * np.log2(live / live.sum())).sum()) if live.size else 0.0


def _lloyd(
    histograms: Counts, owners: Integers, times: Counts, count: int, rounds: int
) -> Clusters:
    weights = histograms.astype(np.float32)
    labels = _by_mean(histograms, count)
    for _ in range(rounds):
        costs = weights @ _code_lengths(histograms, labels, count).T
        costs += _label_bits(labels, owners, count)[owners]
        labels = costs.argmin(axis=1)
    labels, used = _in_order(histograms, labels)
    tables = [histograms[labels == label].sum(axis=0) for label in range(used)]
    bits = sum(entropy_bits(table) for table in tables) + TABLE_BITS * used
    if used > 1:
        pairs = np.zeros((int(owners.max()) + 1, used))
        np.add.at(pairs, (owners, labels), times)
        bits += LABELS_PACK_TO * sum(entropy_bits(row) for row in pairs) + 4.0 * (pairs > 0).sum()
    return Clusters(labels.astype(np.uint8), used, bits)


def _by_mean(histograms: Counts, count: int) -> Integers:
    """To begin with, classes of equal size by the rows' mean magnitudes."""
    sizes = histograms.sum(axis=1)
    means = histograms @ np.arange(histograms.shape[1]) / np.maximum(1, sizes)
    order = np.argsort(means, kind="stable")
    labels = np.empty(len(means), np.int64)
    shares = np.cumsum(sizes[order]) / max(1, int(sizes.sum()))
    labels[order] = np.minimum((shares * count).astype(np.int64), count - 1)
    return labels


def _code_lengths(histograms: Counts, labels: Integers, count: int) -> npt.NDArray[np.float32]:
    """Bits of each symbol in each class, [classes, symbols]."""
    every = histograms.sum(axis=0) + 0.02
    tables = np.tile(PRIOR_ROWS * every / every.sum() + 0.01, (count, 1))
    for label in range(count):
        tables[label] += histograms[labels == label].sum(axis=0)
    return np.asarray(-np.log2(tables / tables.sum(axis=1, keepdims=True)), np.float32)


def _label_bits(labels: Integers, owners: Integers, count: int) -> npt.NDArray[np.float32]:
    """Bits of each label in each span, [spans, classes]."""
    pairs = np.full((int(owners.max()) + 1, count), 0.5)
    np.add.at(pairs, (owners, labels), 1)
    return np.asarray(-np.log2(pairs / pairs.sum(axis=1, keepdims=True)), np.float32)


def _in_order(histograms: Counts, labels: Integers) -> tuple[Integers, int]:
    """Number the classes in use by their mean magnitudes: neighbours then have near labels."""
    used = np.unique(labels)
    scale = np.arange(histograms.shape[1])
    sums = np.stack([histograms[labels == label].sum(axis=0) for label in used])
    means = sums @ scale / np.maximum(1, sums.sum(axis=1))
    numbers = np.zeros(int(used[-1]) + 1, np.int64)
    numbers[used[np.argsort(means, kind="stable")]] = np.arange(used.size)
    return numbers[labels], int(used.size)


def split_columns(matrix: Bytes, row_labels: Bytes, times: float = 1.0) -> Bytes | None:
    """Two classes of a matrix's columns by their mean magnitudes, [columns]; None if it loses.

    Each row stands for so many `times`.

    The gain is judged on four ranges of magnitudes, so that no table can learn what is chance.
    """
    rows, columns = matrix.shape
    if rows * times < MIN_SPLIT_ROWS or columns < MIN_SPLIT_COLUMNS:
        return None
    means = matrix.mean(axis=0)
    heavy = (means > np.median(means)).astype(np.uint8)
    coarse = np.digitize(matrix, (1, 24, 64)).astype(np.int64)
    classes = int(row_labels.max()) + 1
    cells = (row_labels.astype(np.int64)[:, None] * 2 + heavy) * 4 + coarse
    counts = np.bincount(cells.reshape(-1), minlength=classes * 8).reshape(classes, 2, 4)
    before = sum(entropy_bits(cell) for cell in counts.sum(axis=1))
    after = sum(entropy_bits(cell) for row in counts for cell in row)
    cost = columns + 1.5 * np.log2(times * matrix.size) * np.count_nonzero(counts.sum(axis=(1, 2)))
    return heavy if times * (before - after) > 2 * cost else None


def columns_gain_bits(
    matrices: Sequence[Bytes], labels: Sequence[Bytes], count: int, times: Sequence[float]
) -> float:
    """About what column classes save in all matrices together, in bits; 0 where they do not pay.

    Args:
        matrices: magnitudes.
        labels: the class of each matrix's rows.
        count: how many row classes there are.
        times: how many rows each row of a matrix stands for.
    """
    symbols = 1 + max(int(matrix.max(initial=0)) for matrix in matrices)
    cells = np.zeros((count, 2, symbols))
    cost = float(TABLE_BITS * count)
    for matrix, rows, many in zip(matrices, labels, times, strict=True):
        split = split_columns(matrix, rows, many)
        if split is None:
            np.add.at(cells[:, 0], rows, many * histograms_of([matrix], symbols))
            continue
        cost += LABELS_PACK_TO * split.size
        for side in (0, 1):
            part = np.ascontiguousarray(matrix[:, split == side])
            np.add.at(cells[:, side], rows, many * histograms_of([part], symbols))
    before = sum(entropy_bits(cell) for cell in cells.sum(axis=1))
    after = sum(entropy_bits(cell) for row in cells for cell in row)
    return max(0.0, before - after - cost)


# From here on a matrix's columns may have classes; the taps of a depthwise 3x3 kernel may.
MIN_SPLIT_ROWS: Final = 64
MIN_SPLIT_COLUMNS: Final = 8


def histograms_of(matrices: Sequence[Bytes], symbols: int) -> Integers:
    """How often each symbol occurs in each row of the matrices, [rows, symbols]."""
    parts = []
    for matrix in matrices:
        cells = matrix + (np.arange(len(matrix), dtype=np.int64) * symbols)[:, None]
        found = np.bincount(cells.reshape(-1), minlength=len(matrix) * symbols)
        parts.append(found.reshape(len(matrix), symbols))
    return np.concatenate(parts)
