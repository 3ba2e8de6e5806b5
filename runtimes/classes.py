"""Class rANS: the rows of a group's matrices share tables by class, not by tensor.

Where most weights were pruned, a class first codes which of eight neighbours are not zero, and then
only those that are not. So what numpy decodes is a fifth of the weights, and a row pays for a
class's number alone. FORMAT.md has the layout; `Sequence` is what a full group and a delta's have
in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from runtimes import decode
from runtimes.arrays import in_coded_order, method
from runtimes.container import Span, Stream
from runtimes.decode import Job, read_stream
from runtimes.rans import (
    ALPHABET,
    ESCAPE,
    SLOTS,
    Lanes,
    frequencies,
    lane_count,
    read_weights,
    slot_tables,
)
from runtimes.untrusted import Cursor, damaged, wrong_size

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int64]

MAGNITUDES: Final = 129  # 0 to 128
MAX_PLAN_BYTES: Final = 1 << 18
MAX_CLASSES: Final = 255
MAX_COLUMN_CLASSES: Final = 8
# What is expanded at a time, which bounds the memory; for deltas it is a part of the format.
BLOCK_ITEMS: Final = 1 << 16
DELTA_BLOCK_ITEMS: Final = 1 << 18

# A run costs a reader as much as tens of items, so there must be 8 items for each, beyond some.
LEAST_RUNS_ITEMS: Final = 1 << 12

FLAG_SIGNS_IN_LANES: Final = 1

KIND_EMPTY: Final = 0
KIND_PLAIN: Final = 1
KIND_MASKED: Final = 2
KIND_ODDS: Final = 3  # and above: masked, with the table that follows from the odds

# Odds are powers of 2 ** (1/8); all zero has this weight code, and everything rarer less.
_ODDS_TOP: Final = 8 * 24
_EIGHTHS: Final = (256, 279, 304, 332, 362, 395, 431, 470)
_ONES: Final = np.array([bin(byte).count("1") for byte in range(ALPHABET)])


@dataclass(frozen=True)
class Plan:
    """What the classes are. `kinds` is KIND_EMPTY, KIND_PLAIN or KIND_MASKED for each of them.

    `tables` are slot tables: of each class's magnitudes, then of each class's masks, [2 * classes].
    """

    lane_bits: int
    signs_in_lanes: bool
    center: int
    kinds: Bytes
    tables: npt.NDArray[np.uint32]


def mask_weights(odds: int) -> Integers:
    """Weights of all masks of eight, each item being non-zero at odds of 2 ** (-odds / 8) to 1.

    Masks too rare for a slot have no weight; ESCAPE has theirs.
    """
    codes = [_ODDS_TOP - odds * ones for ones in range(9)]
    exact = [_EIGHTHS[code & 7] << (code >> 3) if code >= 0 else 0 for code in codes]
    total = sum(weight * math.comb(8, ones) for ones, weight in enumerate(exact))
    kept = [weight if 2 * weight * SLOTS >= total else 0 for weight in exact]
    weights: Integers = np.array(kept, np.int64)[_ONES]
    weights[ESCAPE] = 0
    weights[ESCAPE] = max(total - int(weights.sum()), 1)
    return weights


def read_plan(cursor: Cursor) -> Plan:
    """Lanes, flags, center, then each class: its kind and its tables."""
    lane_bits, flags, center = cursor.byte(), cursor.byte(), cursor.byte()
    lane_count(lane_bits)
    if flags & ~FLAG_SIGNS_IN_LANES:
        raise damaged("a class rANS plan has unknown flags", found=f"{flags:#04x}")
    count = cursor.varint()
    if not 0 < count <= MAX_CLASSES:
        raise damaged(
            "a class rANS plan has an impossible number of classes",
            expected=f"1 to {MAX_CLASSES}",
            found=f"{count}",
        )
    kinds = np.zeros(count, np.uint8)
    weights = np.zeros((2, count, ALPHABET), np.int64)
    weights[:, :, 0] = 1  # of the tables that no class has, and no symbol uses
    for place in range(count):
        kind = cursor.byte()
        kinds[place] = min(kind, KIND_MASKED)
        if kind != KIND_EMPTY:
            weights[0, place] = read_weights(cursor, MAGNITUDES)
        if kind == KIND_MASKED:
            weights[1, place] = read_weights(cursor, ESCAPE)
        elif kind >= KIND_ODDS:
            weights[1, place] = mask_weights(kind - KIND_ODDS)
    signs_in_lanes = bool(flags & FLAG_SIGNS_IN_LANES)
    weights[:, :, ESCAPE] = np.maximum(1, weights[:, :, ESCAPE])
    tables = slot_tables(frequencies(weights.reshape(-1, ALPHABET)))
    return Plan(lane_bits, signs_in_lanes, center, kinds, tables)


@dataclass(frozen=True)
class Coded:
    """The streams that hold the items: lane states, words, signs, escapes."""

    states: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint16]
    signs: Bytes
    escapes: Bytes

    @classmethod
    def read(cls, streams: tuple[Stream, ...], plan: Plan, items: int) -> Coded:
        """Decode the four streams of a group of this many items."""
        lanes = lane_count(plan.lane_bits)
        planes = np.frombuffer(read_stream(streams[0], exactly=4 * lanes), np.uint8)
        states: Any = np.ascontiguousarray(planes.reshape(4, lanes).T).reshape(-1).view("<u4")
        # No symbol takes more than a word; masks are an eighth of the items.
        words = read_stream(streams[1], at_most=4 * items + 16)
        if len(words) % 2:
            raise damaged("a rANS stream ends in half a word")
        signs = read_stream(streams[2], at_most=items // 8 + 1)
        escapes = read_stream(streams[3], at_most=2 * items)
        return cls(
            states.astype(np.uint32),
            np.frombuffer(words, "<u2"),
            np.frombuffer(signs, np.uint8),
            np.frombuffer(escapes, np.uint8),
        )


class Sequence:
    """Runs of items, each of one class, decoded block by block.

    Args:
        plan: the classes.
        coded: the streams.
        labels: the class of each run.
        lengths: how many items it has.
    """

    def __init__(self, plan: Plan, coded: Coded, labels: Bytes, lengths: Integers) -> None:
        if labels.size and int(labels.max()) >= plan.kinds.size:
            raise damaged(
                "a row is of a class that is not there",
                expected=f"one below {plan.kinds.size}",
                found=f"{int(labels.max())}",
            )
        self._plan, self._coded = plan, coded
        self._labels, self._lengths = labels, lengths
        self._kinds = plan.kinds[labels]
        masked = np.where(self._kinds == KIND_MASKED, lengths, 0)
        self._bit_ends = np.cumsum(masked)
        self._lanes = Lanes(coded.states, coded.words, plan.tables, coded.escapes)
        firsts = -(-(self._bit_ends - masked) // 8)
        counts = -(-self._bit_ends // 8) - firsts
        # Mask tables stand behind the magnitudes' in the plan.
        chunks = self._lanes.symbols(labels.astype(np.uint16) + plan.kinds.size, counts)
        self._masks = np.concatenate([np.zeros(0, np.uint8), *chunks])

    def blocks(self, ends: list[int]) -> Iterator[Bytes]:
        """The items of consecutive blocks; each ends before the run of that number.

        Raises:
            PackageError: the streams do not fit the runs.
        """
        begins = [0, *ends[:-1]]
        live = self._live_counts(begins, ends)
        magnitudes = _Puller(self._lanes.symbols(self._labels.astype(np.uint16), live))
        signs = self._coded.signs
        if self._plan.signs_in_lanes:
            magnitudes.drain()
            hidden = self._lanes.finish().astype("<u2").view(np.uint8)
            signs = np.concatenate((signs, hidden))
        signed = 0
        for begin, end in zip(begins, ends):
            part = magnitudes.take(int(live[begin:end].sum()))
            values, used = _with_signs(part, signs, signed)
            signed += used
            yield self._expanded(begin, end, values)
        self._check_end(signed, signs)

    def _live_counts(self, begins: list[int], ends: list[int]) -> Integers:
        """How many magnitudes each run has."""
        live = np.where(self._kinds == KIND_PLAIN, self._lengths, 0)
        for begin, end in zip(begins, ends):
            hits = np.flatnonzero(self._bits(begin, end))
            first = self._bit_begin(begin)
            upto = np.searchsorted(hits, self._bit_ends[begin:end] - first)
            live[begin:end] += np.diff(upto, prepend=0)
        return live

    def _bit_begin(self, run: int) -> int:
        return int(self._bit_ends[run - 1]) if run else 0

    def _bits(self, begin: int, end: int) -> npt.NDArray[np.bool_]:
        """The masks of the masked runs from `begin` to `end`, one for each item."""
        return _bits_of(self._masks, self._bit_begin(begin), self._bit_begin(end))

    def _expanded(self, begin: int, end: int, values: Bytes) -> Bytes:
        """The items of some runs, the zeros between the values put in."""
        kinds, lengths = self._kinds[begin:end], self._lengths[begin:end]
        mask = self._bits(begin, end)
        if (kinds != KIND_MASKED).any():
            mask = _mixed_mask(kinds, lengths, mask)
        content = np.full(mask.size, self._plan.center, np.uint8)
        content[np.flatnonzero(mask)] = values + np.uint8(self._plan.center)
        return content

    def _check_end(self, signed: int, signs: Bytes) -> None:
        if not self._plan.signs_in_lanes and self._lanes.finish().any():
            raise damaged("a rANS lane ends with an impossible state")
        hidden = 2 * lane_count(self._plan.lane_bits) if self._plan.signs_in_lanes else 0
        if signs.size != max(-(-signed // 8), hidden):
            raise wrong_size("sign stream", -(-signed // 8), signs.size)
        if _bits_of(signs, signed, 8 * signs.size).any():
            raise damaged("a sign stream has signs for more items than there are")


class _Puller:
    """Chunks of any length, taken in pieces of another."""

    def __init__(self, chunks: Iterator[Bytes]) -> None:
        self._chunks = chunks
        self._rest = np.zeros(0, np.uint8)

    def drain(self) -> None:
        """Take all chunks at once."""
        self._rest = np.concatenate([self._rest, *self._chunks])

    def take(self, count: int) -> Bytes:
        """The next `count` bytes."""
        parts, have = [self._rest], self._rest.size
        while have < count:
            chunk = next(self._chunks)
            parts.append(chunk)
            have += chunk.size
        joined = np.concatenate(parts) if len(parts) > 1 else self._rest
        self._rest = joined[count:]
        return joined[:count]


def _mixed_mask(
    kinds: Bytes, lengths: Integers, bits: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Where runs of all kinds have values; `bits` has the masked ones' only."""
    changes = np.flatnonzero(np.diff(kinds)) + 1
    parts, used = [], 0
    for run, until in zip([0, *changes.tolist()], [*changes.tolist(), kinds.size]):
        size = int(lengths[run:until].sum())
        if kinds[run] == KIND_MASKED:
            parts.append(bits[used : used + size])
            used += size
        else:
            parts.append(np.full(size, kinds[run] == KIND_PLAIN))
    return np.concatenate(parts)


def _bits_of(packed: Bytes, begin: int, end: int) -> npt.NDArray[np.bool_]:
    """Bits `begin` to `end`, the highest of each byte first."""
    bits = np.unpackbits(packed[begin >> 3 : (end + 7) >> 3])
    return bits[begin & 7 : (begin & 7) + end - begin].view(np.bool_)


def _with_signs(magnitudes: Bytes, signs: Bytes, at: int) -> tuple[Bytes, int]:
    """Magnitudes as bytes in two's complement, and how many signs that took: one for each not 0."""
    live = magnitudes != 0
    count = int(np.count_nonzero(live))
    if at + count > 8 * signs.size:
        raise damaged("the sign stream ends too early", expected=f"{at + count} signs")
    negative = np.zeros(magnitudes.size, np.uint8)
    negative[live] = _bits_of(signs, at, at + count)
    return (magnitudes ^ (0 - negative).astype(np.uint8)) + negative, count


@method(decode.METHOD_CLASSES)
def _classes(job: Job) -> None:
    """Streams: the plan, the rows' and columns' classes, and the four of `Coded`."""
    group = job.group
    if group.item_bytes != 1 or not group.spans:
        raise damaged("class rANS is of 1-byte items", found=f"{group.item_bytes} bytes")
    streams = job.streams(6)
    plan_bytes = read_stream(streams[0], at_most=MAX_PLAN_BYTES)
    cursor = Cursor(memoryview(plan_bytes), "class rANS plan")
    columns = cursor.byte()
    if not 0 < columns <= MAX_COLUMN_CLASSES:
        raise damaged(
            "a class rANS plan has an impossible number of column classes",
            expected=f"1 to {MAX_COLUMN_CLASSES}",
            found=f"{columns}",
        )
    split = (
        [bool(cursor.byte()) for _ in group.spans] if columns > 1 else [False] * len(group.spans)
    )
    plan = read_plan(cursor)
    if cursor.left():
        raise damaged("a class rANS plan is too long", found=f"{cursor.left()} bytes more")
    matrices = [_Matrix(span, columns, one) for span, one in zip(group.spans, split)]
    runs = sum(one.rows * (columns if one.split else 1) for one in matrices)
    if 8 * runs > group.size_bytes + LEAST_RUNS_ITEMS:
        raise damaged(
            "a class rANS group is cut into too many rows",
            expected=f"at most {(group.size_bytes + LEAST_RUNS_ITEMS) // 8}",
            found=f"{runs}",
        )
    needed = sum(one.rows + (one.columns if one.split else 0) for one in matrices)
    labels = np.frombuffer(read_stream(streams[1], exactly=needed), np.uint8)
    for matrix in matrices:
        labels = matrix.label(labels)
    sequence = Sequence(
        plan,
        Coded.read(streams[2:], plan, group.size_bytes),
        np.concatenate([one.run_labels for one in matrices]),
        np.concatenate([one.run_lengths for one in matrices]),
    )
    _put(job, matrices, sequence)


class _Matrix:
    """A span as rows and columns, and the runs in which its items are coded.

    Rows come in the order of their classes; within a row, the columns in the order of theirs.
    """

    def __init__(self, span: Span, column_classes: int, split: bool) -> None:
        shape = span.coded_shape
        self.rows = shape[0] if len(shape) > 1 else 1
        self.columns = math.prod(shape) // self.rows
        self.column_classes, self.split = column_classes, split

    def label(self, labels: Bytes) -> Bytes:
        """Take this matrix's labels from the front; gives the others."""
        row_labels, labels = labels[: self.rows], labels[self.rows :]
        self.order = np.argsort(row_labels, kind="stable")
        first = row_labels[self.order].astype(np.int64) * self.column_classes
        self.runs_per_row = 1
        lengths = np.array([self.columns], np.int64)
        if self.split:
            column_labels, labels = labels[: self.columns], labels[self.columns :]
            if int(column_labels.max()) >= self.column_classes:
                raise damaged("a column is of a class that is not there")
            self.column_places = np.argsort(np.argsort(column_labels, kind="stable"))
            lengths = np.bincount(column_labels, minlength=self.column_classes)
            self.runs_per_row = self.column_classes
        every = first[:, None] + np.arange(self.runs_per_row)
        # A class beyond all numbers stays one that is not there.
        self.run_labels = np.minimum(every, 255).astype(np.uint8).reshape(-1)
        self.run_lengths = np.tile(lengths, self.rows)
        return labels

    def blocks(self) -> list[tuple[int, int]]:
        """Rows that are expanded together: first, and one behind the last."""
        step = max(1, BLOCK_ITEMS // self.columns)
        return [(at, min(at + step, self.rows)) for at in range(0, self.rows, step)]

    def in_order(self, items: Bytes) -> Bytes:
        """A block's items with the columns in their places, [rows, columns]."""
        table = items.reshape(-1, self.columns)
        return table.take(self.column_places, axis=1) if self.split else table


def _put(job: Job, matrices: list[_Matrix], sequence: Sequence) -> None:
    """Expand the sequence block by block, each into its rows of the restored file."""
    ends, at = [], 0
    for matrix in matrices:
        ends += [at + last * matrix.runs_per_row for _, last in matrix.blocks()]
        at += matrix.rows * matrix.runs_per_row
    blocks = sequence.blocks(ends)
    for matrix, span in zip(matrices, job.group.spans):
        array = in_coded_order(job, span)
        array = array if matrix.rows == array.shape[0] else array[None]
        for first, last in matrix.blocks():
            rows = matrix.in_order(next(blocks))
            array[matrix.order[first:last]] = rows.reshape(-1, *array.shape[1:])
    if next(blocks, None) is not None:
        raise damaged("a class rANS group has more items than its spans")
