"""Class rANS: the rows of a group's matrices share tables by class, not by tensor.

Where most weights were pruned, a class first codes which of eight neighbours are not zero, and then
only those that are not. So what numpy decodes is a fifth of the weights, and a row pays for a
class's number alone. FORMAT.md has the layout; `Sequence` is what a full group (runtimes.matrices)
and a delta's (runtimes.patch) have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from runtimes.container import Stream
from runtimes.decode import read_stream
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
    Words = npt.NDArray[np.uint16]

MAGNITUDES: Final = 129  # 0 to 128
MAX_PLAN_BYTES: Final = 1 << 18
MAX_CLASSES: Final = 255
# What is expanded at a time, which bounds the memory, is for deltas a part of the format.
DELTA_BLOCK_ITEMS: Final = 1 << 18

_SUMMED_BYTES: Final = 1 << 12  # of masks; their sums take eight times as much

FLAG_SIGNS_IN_LANES: Final = 1

KIND_EMPTY: Final = 0
KIND_PLAIN: Final = 1
KIND_MASKED: Final = 2
KIND_ODDS: Final = 3  # and above: masked, with the table that follows from the odds

# Odds are powers of 2 ** (1/8); all zero has this weight code, and everything rarer less.
_ODDS_TOP: Final = 8 * 24
_EIGHTHS: Final = (256, 279, 304, 332, 362, 395, 431, 470)
_ONES: Final = np.array([bin(byte).count("1") for byte in range(ALPHABET)], np.uint8)


@dataclass(frozen=True)
class Plan:
    """What the classes are. `kinds` is KIND_EMPTY, KIND_PLAIN or KIND_MASKED for each of them.

    `magnitudes` and `masks` are the slots of each class's symbols, [classes, 256]; those of kinds
    that have none mean nothing.
    """

    lane_bits: int
    signs_in_lanes: bool
    center: int
    kinds: Bytes
    magnitudes: npt.NDArray[np.uint16]
    masks: npt.NDArray[np.uint16]


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
    slots = frequencies(weights.reshape(-1, ALPHABET)).astype(np.uint16).reshape(weights.shape)
    return Plan(lane_bits, signs_in_lanes, center, kinds, *slots)


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
        self._lanes = Lanes(coded.states, coded.words, coded.escapes)
        firsts = -(-(self._bit_ends - masked) // 8)
        counts = -(-self._bit_ends // 8) - firsts
        chunks = self._symbols(plan.masks, plan.kinds == KIND_MASKED, counts)
        # One byte more, so that each run's end lies within a byte.
        self._masks = np.zeros(int(counts.sum()) + 1, np.uint8)
        fill(self._masks, chunks)

    def blocks(self, ends: list[int]) -> Iterator[Bytes]:
        """The items of consecutive blocks; each ends before the run of that number.

        Raises:
            PackageError: the streams do not fit the runs.
        """
        live = self._live_counts()
        used = self._plan.kinds != KIND_EMPTY
        magnitudes = _Puller(self._symbols(self._plan.magnitudes, used, live))
        left = int(live.sum())
        signs = _Signs(self._coded.signs)
        hidden = 0
        for begin, end in zip([0, *ends[:-1]], ends):
            count = int(live[begin:end].sum())
            part = magnitudes.take(count)
            left -= count
            negative = int(np.count_nonzero(part))
            if self._plan.signs_in_lanes and not hidden and signs.left() < negative:
                magnitudes.drain(left)  # only once all are decoded do the lanes give theirs
                hidden = signs.extend(self._lanes.finish())
            yield self._expanded(begin, end, signs.given_to(part, negative))
        if self._plan.signs_in_lanes and not hidden:
            hidden = signs.extend(self._lanes.finish())
        elif not hidden and self._lanes.finish().any():
            raise damaged("a rANS lane ends with an impossible state")
        signs.check_end(hidden)

    def _symbols(
        self, slots: npt.NDArray[np.uint16], used: npt.NDArray[np.bool_], counts: Integers
    ) -> Iterator[Bytes]:
        """Symbols of all runs; slot tables, which are large, are made for the classes in use."""
        places = np.maximum(np.cumsum(used) - 1, 0).astype(np.uint16)
        tables = slot_tables(slots[used].astype(np.int64))
        return self._lanes.symbols(places[self._labels], counts, tables)

    def _live_counts(self) -> Integers:
        """How many magnitudes each run has."""
        whole, rest = self._bit_ends >> 3, self._bit_ends & 7
        upto = np.empty_like(whole)
        before = 0
        for at in range(0, self._masks.size, _SUMMED_BYTES):
            ones = _ONES.take(self._masks[at : at + _SUMMED_BYTES])
            sums = before + np.cumsum(ones, dtype=np.int64)
            first, last = np.searchsorted(whole, (at, at + ones.size)).tolist()
            places = whole[first:last] - at
            upto[first:last] = sums.take(places) - ones.take(places)
            before = int(sums[-1])
        # The bits in front of an end that lies within a byte.
        upto += _ONES.take(self._masks.take(whole) >> (8 - rest))
        upto[1:] -= upto[:-1].copy()
        return np.where(self._kinds == KIND_PLAIN, self._lengths, upto)

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


class _Puller:
    """Chunks of any length, taken in pieces of another."""

    def __init__(self, chunks: Iterator[Bytes]) -> None:
        self._chunks = chunks
        self._rest = np.zeros(0, np.uint8)

    def drain(self, count: int) -> None:
        """Have all chunks decoded, of which `count` bytes are still to be taken."""
        content = np.empty(count, np.uint8)
        content[: self._rest.size] = self._rest
        fill(content[self._rest.size :], self._chunks)
        self._rest = content

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


class _Signs:
    """The signs of the items that are not zero, in their order."""

    def __init__(self, packed: Bytes) -> None:
        self._packed, self._at = packed, 0

    def left(self) -> int:
        """How many are there still, counting what fills the last byte."""
        return 8 * self._packed.size - self._at

    def extend(self, hidden: Words) -> int:
        """Put what the lanes hid behind the others; gives its bytes."""
        more = hidden.astype("<u2").view(np.uint8)
        self._packed = np.concatenate((self._packed, more))
        return more.size

    def given_to(self, magnitudes: Bytes, count: int) -> Bytes:
        """Magnitudes, `count` of them not zero, as bytes in two's complement."""
        if self.left() < count:
            raise damaged("the sign stream ends too early", expected=f"{self._at + count} signs")
        negative = _bits_of(self._packed, self._at, self._at + count).view(np.uint8)
        self._at += count
        if count < magnitudes.size:
            every = np.zeros(magnitudes.size, np.uint8)
            every[magnitudes != 0] = negative
            negative = every
        return (magnitudes ^ (0 - negative).astype(np.uint8)) + negative

    def check_end(self, hidden: int) -> None:
        """Refuse more bytes than all signs need, `hidden` of which the lanes had to give."""
        if self._packed.size != max(-(-self._at // 8), hidden):
            raise wrong_size("sign stream", -(-self._at // 8), self._packed.size)
        if _bits_of(self._packed, self._at, 8 * self._packed.size).any():
            raise damaged("a sign stream has signs for more items than there are")


def fill(target: Bytes, chunks: Iterator[Bytes]) -> None:
    """Put chunks one behind the other; they are no longer than the target."""
    at = 0
    for chunk in chunks:
        target[at : at + chunk.size] = chunk
        at += chunk.size


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
