"""Codes groups by class rANS: the mirror of `runtimes.classes`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack.clusters import cluster, columns_gain_bits, histograms_of, split_columns
from exporter.pack.numbers import varint
from exporter.pack.rans import (
    BYTES_PER_BARE_LANE,
    BYTES_PER_LANE,
    Encoder,
    code_bits,
    lane_bits_for,
)
from exporter.pack.streams import Coded, Device, raw, squeeze
from exporter.pack.tables import RUN_BITS, histogram, slots_of
from runtimes.classes import (
    FLAG_SIGNS_IN_LANES,
    KIND_EMPTY,
    KIND_MASKED,
    KIND_ODDS,
    KIND_PLAIN,
    MAGNITUDES,
    MAX_CLASSES,
    mask_weights,
)
from runtimes.matrices import LEAST_RUNS_ITEMS
from runtimes.rans import ALPHABET, ESCAPE, PRECISION, frequencies

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint16]
Integers = npt.NDArray[np.int64]

# A class with fewer non-zero items than this share of them codes masks: fewer symbols than items.
MASKED_BELOW: Final = 0.6
# Signs go into the lanes where magnitudes are few: the reader must hold all of them at once then.
SIGNS_IN_LANES_BELOW: Final = 0.25
MAX_ODDS: Final = 255 - KIND_ODDS


def code_matrices(matrices: Sequence[Bytes], device: Device) -> tuple[Coded, ...]:
    """The streams of a group: plan, labels, states, words, signs, escapes.

    Args:
        matrices: the group's spans as [rows, columns], in the order in which they are coded.
        device: what the reader has.

    `estimated_bytes` is finite for them: they have few rows for their size.
    """
    center = _center(matrices)
    folded = [magnitudes_of(matrix, center) for matrix in matrices]
    owners = np.repeat(np.arange(len(matrices)), [len(matrix) for matrix in matrices])
    found = cluster(histograms_of(folded, MAGNITUDES), owners)
    rows = np.split(found.labels, np.cumsum([len(matrix) for matrix in matrices])[:-1])
    splits = [split_columns(*pair) for pair in zip(folded, rows, strict=True)]
    columns = 2 if 2 * found.count <= MAX_CLASSES and any(s is not None for s in splits) else 1
    runs = [
        _runs(matrix, labels, split if columns > 1 else None, columns)
        for matrix, labels, split in zip(matrices, rows, splits, strict=True)
    ]
    coded = code_runs(
        np.concatenate([one.items for one in runs]) - np.uint8(center),
        np.concatenate([one.labels for one in runs]),
        np.concatenate([one.lengths for one in runs]),
        found.count * columns,
    )
    plan = bytes([columns])
    if columns > 1:
        plan += bytes(split is not None for split in splits)
    plan += coded.plan(center)
    sides = [
        side
        for labels, split in zip(rows, splits, strict=True)
        for side in ((labels,) if split is None or columns == 1 else (labels, split))
    ]
    labels = np.concatenate(sides).tobytes()
    return (squeeze(plan, device), squeeze(labels, device), *coded.streams(device))


def estimated_bytes(
    matrices: Sequence[Bytes], *, columns: bool = False, times: Sequence[float] | None = None
) -> float:
    """About what `code_matrices` would take; infinite for more rows than a reader accepts.

    Args:
        matrices: as there.
        columns: whether what column classes gain is counted too, which takes twice the time.
        times: how many rows each row of a matrix stands for, where they are samples.
    """
    times = [1.0] * len(matrices) if times is None else times
    if not _fits(matrices, times):
        return math.inf
    center = _center(matrices)
    folded = [magnitudes_of(matrix, center) for matrix in matrices]
    owners = np.repeat(np.arange(len(matrices)), [len(matrix) for matrix in matrices])
    many = np.asarray(times)[owners]
    histograms = histograms_of(folded, MAGNITUDES) * many[:, None]
    signs = float(histograms[:, 1:].sum())
    found = cluster(histograms, owners, quick=True, times=many)
    bits = found.bits
    if columns:
        rows = np.split(found.labels, np.cumsum([len(matrix) for matrix in matrices])[:-1])
        bits -= columns_gain_bits(folded, rows, found.count, times)
    return (bits + signs) / 8 + 20


def magnitudes_of(items: Bytes, center: int) -> Bytes:
    """How far bytes in two's complement, less `center`, are from zero: 0 to 128."""
    moved = (items - np.uint8(center)).astype(np.uint8)
    return np.minimum(moved, 0 - moved).astype(np.uint8)


def _fits(matrices: Sequence[Bytes], times: Sequence[float]) -> bool:
    pairs = list(zip(matrices, times, strict=True))
    rows = sum(len(matrix) * many for matrix, many in pairs)
    return 2 * 8 * rows <= sum(matrix.size * many for matrix, many in pairs) + LEAST_RUNS_ITEMS


def _center(matrices: Sequence[Bytes]) -> int:
    """Where the items lie: around 0, or around 128 if they are unsigned."""
    counts = sum(np.bincount(matrix.reshape(-1), minlength=ALPHABET) for matrix in matrices)
    places = np.arange(ALPHABET, dtype=np.uint8)
    return min((0, 128), key=lambda one: int((counts * magnitudes_of(places, one)).sum()))


@dataclass(frozen=True)
class _Runs:
    items: Bytes
    labels: Bytes
    lengths: Integers


def _runs(matrix: Bytes, labels: Bytes, split: Bytes | None, columns: int) -> _Runs:
    """A matrix's items in the order in which they are coded, and the runs of one class."""
    order = np.argsort(labels, kind="stable")
    sorted_rows = matrix[order]
    first = labels[order].astype(np.int64) * columns
    lengths = np.array([matrix.shape[1]])
    if split is not None:
        sorted_rows = sorted_rows[:, np.argsort(split, kind="stable")]
        lengths = np.bincount(split, minlength=columns)
    runs = (first[:, None] + np.arange(lengths.size)).astype(np.uint8).reshape(-1)
    return _Runs(sorted_rows.reshape(-1), runs, np.tile(lengths, len(matrix)))


@dataclass
class _Class:
    """What a plan says of a class, and the slots that follow: of magnitudes and of masks."""

    kind: int = KIND_EMPTY
    tables: bytes = b""
    magnitude_slots: Integers = field(default_factory=lambda: np.zeros(ALPHABET, np.int64))
    mask_slots: Integers = field(default_factory=lambda: np.zeros(ALPHABET, np.int64))

    @property
    def masked(self) -> bool:
        return self.kind >= KIND_MASKED


@dataclass(frozen=True)
class CodedRuns:
    """Runs of items, coded. `states` are those of the lanes, `signs` without what lanes hide."""

    lane_bits: int
    flags: int
    classes: list[_Class]
    states: npt.NDArray[np.uint32]
    words: bytes
    signs: bytes
    escapes: bytes

    def plan(self, center: int) -> bytes:
        """Lanes, flags, center, then each class."""
        head = bytes([self.lane_bits, self.flags, center]) + varint(len(self.classes))
        return head + b"".join(bytes([one.kind]) + one.tables for one in self.classes)

    def streams(self, device: Device) -> tuple[Coded, ...]:
        """States in byte planes, words, signs, escapes."""
        planes = self.states.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()
        return (
            squeeze(planes, device),
            raw(self.words),
            raw(self.signs),
            squeeze(self.escapes, device),
        )


def code_runs(
    items: Bytes,
    labels: Bytes,
    lengths: Integers,
    count: int,
    bytes_per_lane: int = BYTES_PER_LANE,
) -> CodedRuns:
    """Code items around zero, in runs of one of `count` classes each."""
    item_labels = np.repeat(labels, lengths)
    magnitudes = magnitudes_of(items, 0)
    classes = _classes(magnitudes, item_labels, count)
    masked = np.array([one.masked for one in classes])[item_labels]
    plain = np.array([one.kind == KIND_PLAIN for one in classes])[item_labels]
    masks, mask_labels = _masks(magnitudes[masked] != 0, item_labels[masked])
    _fit_masks(classes, masks, mask_labels)
    live = plain | (masked & (magnitudes != 0))
    symbols, symbol_labels = magnitudes[live], item_labels[live]
    signs = np.packbits((items[magnitudes != 0] >> 7).astype(np.uint8))
    slots = np.concatenate(
        (
            [one.magnitude_slots for one in classes],
            [one.mask_slots for one in classes],
        )
    )
    phases = [
        _escaped(masks, mask_labels.astype(np.uint16) + np.uint16(count), slots),
        _escaped(symbols, symbol_labels.astype(np.uint16), slots),
    ]
    bits = sum(_bits(phase.symbols, phase.labels, slots) for phase in phases)
    longest = max(phase.symbols.size for phase in phases)
    hide = symbols.size <= SIGNS_IN_LANES_BELOW * items.size
    lane_bits = lane_bits_for(bits / 8, longest, bytes_per_lane if hide else BYTES_PER_BARE_LANE)
    shown, hidden = _hidden(signs.tobytes(), 1 << lane_bits, hide)
    encoder = Encoder(lane_bits, slots, hidden)
    for phase in reversed(phases):
        encoder.phase(phase.symbols, phase.labels)
    states, words = encoder.finish()
    escapes = b"".join(phase.escapes.tobytes() for phase in phases)
    flags = FLAG_SIGNS_IN_LANES if hide else 0
    return CodedRuns(lane_bits, flags, classes, states, words, shown, escapes)


def _classes(magnitudes: Bytes, labels: Bytes, count: int) -> list[_Class]:
    """Each class with the table of its magnitudes; masks come when it is known where they lie."""
    cells = np.bincount(labels.astype(np.int64) * MAGNITUDES + magnitudes, minlength=1)
    counts = np.zeros(count * MAGNITUDES, np.int64)
    counts[: cells.size] = cells
    classes = []
    for row in counts.reshape(count, MAGNITUDES):
        live = int(row[1:].sum())
        if not live:
            classes.append(_Class())
            continue
        masked = live < MASKED_BELOW * int(row.sum())
        coded = row.copy()
        coded[0] = 0 if masked else row[0]
        table = histogram(coded)
        slots = slots_of(table, MAGNITUDES, escape=ESCAPE)
        odds = min(max(0, round(8 * math.log2(row[0] / live))), MAX_ODDS) if masked else 0
        classes.append(_Class(KIND_ODDS + odds if masked else KIND_PLAIN, table, slots))
    return classes


def _masks(live: npt.NDArray[np.bool_], labels: Bytes) -> tuple[Bytes, Bytes]:
    """Eight items to a byte, the first highest; each of the class of its first item."""
    return np.packbits(live), labels[::8]


def _fit_masks(classes: list[_Class], masks: Bytes, labels: Bytes) -> None:
    """Give each class that has masks the table that codes them best: from its odds, or its own."""
    for number, one in enumerate(classes):
        if not one.masked:
            continue
        counts = np.bincount(masks[labels == number], minlength=ALPHABET)
        one.mask_slots = frequencies(mask_weights(one.kind - KIND_ODDS)[None])[0]
        coded = counts.copy()
        coded[ESCAPE] = 0
        if not coded.any():
            continue
        table = histogram(coded[:ESCAPE])
        slots = slots_of(table, ESCAPE, escape=ESCAPE)
        own_bits = _counted_bits(counts, slots) + RUN_BITS * len(table) / 2
        if own_bits < _counted_bits(counts, one.mask_slots):
            one.kind, one.mask_slots = KIND_MASKED, slots
            one.tables += table


def _counted_bits(counts: Integers, slots: Integers) -> float:
    """What symbols take, those without a slot as escapes."""
    inside = slots > 0
    inside[ESCAPE] = False
    outside = int(counts[~inside].sum())
    escaped = outside * (8 + PRECISION - math.log2(int(slots[ESCAPE])))
    return code_bits(np.where(inside, counts, 0), slots) + escaped


@dataclass(frozen=True)
class _Phase:
    symbols: Bytes
    labels: Labels
    escapes: Bytes


def _escaped(symbols: Bytes, labels: Labels, slots: Integers) -> _Phase:
    """Put ESCAPE where a symbol has no slot of its own."""
    out = (slots[labels, symbols] == 0) | (symbols == ESCAPE)
    return _Phase(np.where(out, np.uint8(ESCAPE), symbols), labels, symbols[out])


def _bits(symbols: Bytes, labels: Labels, slots: Integers) -> float:
    return float((PRECISION - np.log2(slots[labels, symbols])).sum())


def _hidden(signs: bytes, lanes: int, hide: bool) -> tuple[bytes, npt.NDArray[np.uint16]]:
    """Signs that get a stream, and the last ones: lanes carry two bytes each for free."""
    if not hide:
        return signs, np.zeros(lanes, np.uint16)
    padded = signs.ljust(2 * lanes, b"\0")
    shown = len(padded) - 2 * lanes
    return padded[:shown], np.frombuffer(padded[shown:], "<u2").astype(np.uint16)
