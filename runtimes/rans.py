"""Interleaved rANS over bytes: many lanes at once, each with a table chosen symbol by symbol.

Range asymmetric numeral systems (J. Duda, arXiv:1311.2540), interleaved as F. Giesen describes
(arXiv:1402.3392): symbol *i* belongs to lane *i* mod *n*, and all lanes read 16-bit words from one
stream, in their order. numpy decodes a step of all lanes at a time, so that what Python itself
costs is shared by as many symbols as there are lanes. FORMAT.md has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from runtimes.untrusted import Cursor, damaged, wrong_size

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint16]
    States = npt.NDArray[np.uint32]
    Labels = npt.NDArray[np.uint16]

PRECISION: Final = 12
SLOTS: Final = 1 << PRECISION
LOW: Final = 1 << 16  # a lane's state stays in [2**16, 2**32)
ALPHABET: Final = 256
# The symbol that stands for a byte stored elsewhere: what is too rare for a slot of its own.
ESCAPE: Final = 255

# 2 ** (k / 8) in 1/256, so that all readers round alike: a weight is one of these times 2 ** n.
_EIGHTHS: Final = (256, 279, 304, 332, 362, 395, 431, 470)
MAX_WEIGHT_CODE: Final = 128

MAX_LANE_BITS: Final = 15
# A step costs the same for one lane as for hundreds. So that no package can keep a reader busy for
# longer than its size suggests, it must have this many lanes for its symbols.
MAX_STEPS: Final = 1 << 14
_CHUNK_SYMBOLS: Final = 1 << 16  # decoded at a time, which bounds the memory
_BIAS_SHIFT: Final = 20

# As arrays, numpy need not make them anew in every step.
_MASK: Final = np.array([SLOTS - 1], np.uint32)
_BITS: Final = np.array([PRECISION], np.uint32)
_BIAS: Final = np.array([_BIAS_SHIFT], np.uint32)
_LOW: Final = np.array([LOW], np.uint32)
_HALF: Final = np.array([16], np.uint32)


def weight_of(code: int) -> int:
    """The weight that a code from 1 to `MAX_WEIGHT_CODE` means: about 2 ** (8 + (code - 1) / 8)."""
    return _EIGHTHS[(code - 1) & 7] << ((code - 1) >> 3)


_WEIGHTS: Final = np.array([0, *map(weight_of, range(1, MAX_WEIGHT_CODE + 1))], np.int64)


def frequencies(weights: Integers) -> Integers:
    """Slots of each symbol, in proportion to its weight and at least one: `SLOTS` in all.

    Args:
        weights: of each table's symbols, [tables, 256]. Gives the same shape.

    Raises:
        PackageError: fewer than two symbols of a table have a weight.
    """
    totals = weights.sum(axis=1, keepdims=True)
    if (np.count_nonzero(weights, axis=1) < 2).any():
        raise damaged("a rANS table has fewer than two symbols")
    slots = np.where(weights > 0, np.maximum(1, weights * SLOTS // totals), 0)
    places = np.arange(len(slots))
    missing = SLOTS - slots.sum(axis=1)
    while missing.any():
        largest = slots.argmax(axis=1)
        change = np.maximum(missing, -(slots[places, largest] // 2))
        slots[places, largest] += change
        missing -= change
    return slots


def read_weights(cursor: Cursor, symbols: int) -> Integers:
    """The weights of the first `symbols` of the alphabet, runs of one weight each: [256]."""
    runs, codes, at = [], [], 0
    while at < symbols:
        run, code = 1 + cursor.byte(), cursor.byte()
        at += run
        if at > symbols or code > MAX_WEIGHT_CODE:
            raise damaged(
                "a rANS table is impossible",
                expected=f"runs of {symbols} symbols in all, codes up to {MAX_WEIGHT_CODE}",
                found=f"a run up to {at} of code {code}",
            )
        runs.append(run)
        codes.append(code)
    weights = np.zeros(ALPHABET, np.int64)
    weights[:symbols] = np.repeat(_WEIGHTS[codes], runs)
    return weights


def slot_tables(slots: Integers) -> States:
    """What a decoder looks up for each of the slots: bias << 20 | symbol << 12 | frequency.

    The bias, which every step adds to a state, needs no mask at the top.

    Args:
        slots: the frequencies of each table's symbols, [tables, 256]. Gives [tables * SLOTS].
    """
    used = np.flatnonzero(slots)
    frequency = slots.reshape(-1)[used]
    starts = np.cumsum(frequency) - frequency
    # All of an entry but the slot's own number is the same from a symbol's start to the next one's:
    # a running sum, in which 32 bits wrap around.
    entries = (used & ALPHABET - 1) << PRECISION | frequency
    entries -= (starts & SLOTS - 1) << _BIAS_SHIFT
    steps = np.zeros(slots.shape[0] * SLOTS, np.uint32)
    steps[starts] = (np.diff(entries, prepend=0) & 0xFFFFFFFF).astype(np.uint32)
    np.cumsum(steps, out=steps)
    tables = steps.reshape(-1, SLOTS)
    tables += np.arange(SLOTS, dtype=np.uint32) << np.uint32(_BIAS_SHIFT)
    return steps


class Lanes:
    """The lanes of one coded stream, somewhere on their way through it.

    Args:
        states: where each lane starts, [lanes].
        words: what the lanes read.
        escapes: the bytes that ESCAPE stands for, in their order; None where it is a symbol as any.
    """

    def __init__(self, states: States, words: Words, escapes: Bytes | None = None) -> None:
        if not states.size or int(states.min()) < LOW:
            raise damaged("a rANS lane starts with an impossible state")
        self._states = states.copy()
        self._words = words
        self._escapes = escapes
        self._word = self._escape = 0

    def symbols(self, labels: Labels, counts: Integers, tables: States) -> Iterator[Bytes]:
        """Decode runs of symbols: `counts[i]` of them with table `labels[i]`. Gives them in chunks.

        The slot tables lie one behind the other, [tables * SLOTS].

        Raises:
            PackageError: there are too many symbols for the lanes, or too few words.
        """
        ends = np.cumsum(counts, dtype=np.int64)
        total = int(ends[-1]) if ends.size else 0
        lanes = self._states.size
        if total > lanes * MAX_STEPS:
            raise damaged(
                "a rANS stream has too few lanes",
                expected=f"at least {-(-total // MAX_STEPS)} for {total} symbols",
                found=f"{lanes}",
            )
        size = max(lanes, _CHUNK_SYMBOLS)  # a power of two, as both are: whole steps
        for begin in range(0, total, size):
            end = min(begin + size, total)
            first, last = (int(np.searchsorted(ends, at, "right")) for at in (begin, end - 1))
            inside = np.minimum(ends[first : last + 1], end)
            inside = np.diff(inside, prepend=begin)
            offsets = np.repeat(labels[first : last + 1].astype(np.uint32) << PRECISION, inside)
            yield self._unescaped(self._steps(offsets, tables))

    def finish(self) -> Words:
        """What the encoder hid in the lanes: 16 bits each.

        Raises:
            PackageError: words are left, or a lane does not end where the encoder began.
        """
        if self._word != self._words.size:
            raise wrong_size("rANS stream", 2 * self._word, 2 * self._words.size)
        if self._escapes is not None and self._escape != self._escapes.size:
            raise wrong_size("escape stream", self._escape, self._escapes.size)
        if int(self._states.max()) >= 2 * LOW:
            raise damaged("a rANS lane ends with an impossible state")
        return (self._states & (LOW - 1)).astype(np.uint16)

    def _steps(self, offsets: States, tables: States) -> Bytes:
        """Decode a few steps; `offsets` says where in the tables each symbol's own begins."""
        lanes = self._states.size
        found = np.empty(offsets.size, np.uint32)
        scratch, ends = np.empty(lanes, np.uint32), np.empty(lanes, np.bool_)
        for at in range(0, offsets.size, lanes):
            entry, offset = found[at : at + lanes], offsets[at : at + lanes]
            if entry.size == lanes:
                self._step(self._states, scratch, ends, entry, offset, tables)
            else:  # the last step of all may not need every lane
                size = entry.size
                state, rest, last = self._states[:size], scratch[:size], ends[:size]
                self._step(state, rest, last, entry, offset, tables)
        found >>= _BITS
        return found.astype(np.uint8)  # the low byte

    def _step(
        self,
        state: States,
        scratch: States,
        ends: npt.NDArray[np.bool_],
        entry: States,
        offset: States,
        tables: States,
    ) -> None:
        """Decode one symbol in each lane. Arguments in place of `out=`: that alone is a tenth."""
        np.bitwise_and(state, _MASK, scratch)
        np.add(scratch, offset, scratch)
        tables.take(scratch, None, entry, "clip")
        np.right_shift(state, _BITS, state)
        np.bitwise_and(entry, _MASK, scratch)
        np.multiply(state, scratch, state)
        np.right_shift(entry, _BIAS, scratch)
        np.add(state, scratch, state)
        np.less(state, _LOW, ends)
        (hungry,) = ends.nonzero()
        count = hungry.size
        words = self._words[self._word : self._word + count]
        if words.size < count:
            raise damaged("a rANS stream ends too early", expected=f"{count} more words")
        self._word += count
        refill = state.take(hungry, None, None, "clip")
        np.left_shift(refill, _HALF, refill)
        np.bitwise_or(refill, words, refill)
        state[hungry] = refill

    def _unescaped(self, symbols: Bytes) -> Bytes:
        if self._escapes is None:
            return symbols
        hits = np.flatnonzero(symbols == ESCAPE)
        stored = self._escapes[self._escape : self._escape + hits.size]
        if stored.size < hits.size:
            raise damaged("the escape stream ends too early", expected=f"{hits.size} more bytes")
        symbols[hits] = stored
        self._escape += hits.size
        return symbols


def lane_count(bits: int) -> int:
    """How many lanes a stream has that declares `bits` of them."""
    if bits > MAX_LANE_BITS:
        raise damaged(
            "a rANS stream has too many lanes",
            expected=f"at most 2**{MAX_LANE_BITS}",
            found=f"2**{bits}",
        )
    return 1 << bits


def decode_stream(stored: memoryview, size_bytes: int) -> Iterator[memoryview]:
    """A stream with one table for all of it: u8 lanes, the table, the lanes' states, the words."""
    cursor = Cursor(stored, "rANS stream")
    lanes = lane_count(cursor.byte())
    table = slot_tables(frequencies(read_weights(cursor, ALPHABET)[None]))
    states: Any = np.frombuffer(cursor.take(4 * lanes), "<u4").astype(np.uint32)
    if cursor.left() % 2:
        raise damaged("a rANS stream ends in half a word")
    words: Any = np.frombuffer(cursor.take(cursor.left()), "<u2")
    decoder = Lanes(states, words)
    runs = (np.zeros(1, np.uint16), np.array([size_bytes], np.int64), table)
    for chunk in decoder.symbols(*runs):
        yield chunk.data
    if decoder.finish().any():
        raise damaged("a rANS lane ends with an impossible state")
