"""The rANS encoder: the mirror of `runtimes.rans`. It goes through the symbols backwards."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack.tables import histogram, slots_of
from runtimes.rans import ALPHABET, LOW, MAX_LANE_BITS, MAX_STEPS, PRECISION

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

# A lane takes about half a byte where it carries hidden bits, and three where it does not. So this
# many coded bytes for each lane keep that near half a percent.
BYTES_PER_LANE: Final = 128
BYTES_PER_BARE_LANE: Final = 768
# A step costs numpy some 10 microseconds however few lanes there are. Below so many lanes that is
# most of a reader's time, and half the bytes for each lane are well spent.
QUICK_LANE_BITS: Final = 10
# Beyond these it is little of that time: of 26 MB, a fourth of the lanes take 8 % longer.
MAX_LANE_BITS_USED: Final = 12
# Beside the other streams of a package, a small one with few lanes would take longer than they all.
STEPS_WANTED: Final = 1024


def lane_bits_for(coded_bytes: float, symbols: int, bytes_per_lane: int = BYTES_PER_LANE) -> int:
    """The lanes, as a power of two, that suit a stream of about this size."""
    sparing = math.log2(max(1.0, coded_bytes / bytes_per_lane))
    many = min(sparing + 1, QUICK_LANE_BITS) if sparing else 0
    wanted = round(max(sparing, many))
    quick = min(math.ceil(math.log2(max(1, symbols / STEPS_WANTED))), MAX_LANE_BITS_USED)
    needed = math.ceil(math.log2(max(1, symbols / MAX_STEPS)))
    return min(max(min(wanted, MAX_LANE_BITS_USED), quick, needed), MAX_LANE_BITS)


class Encoder:
    """Codes phases of symbols, the last phase first.

    Args:
        lane_bits: how many lanes, as a power of two.
        slots: the frequencies of each table's symbols, [tables, 256].
        hidden: 16 bits that each lane carries for free, [lanes].
    """

    def __init__(self, lane_bits: int, slots: Integers, hidden: npt.NDArray[np.uint16]) -> None:
        self._slots = slots.astype(np.uint64)
        self._starts = (np.cumsum(slots, axis=1) - slots).astype(np.uint64)
        self._states = hidden.astype(np.uint64) + np.uint64(LOW)
        self._words: list[npt.NDArray[np.uint16]] = []
        self._lanes = 1 << lane_bits

    def phase(self, symbols: Bytes, labels: npt.NDArray[np.uint16]) -> None:
        """Code symbols, each with the table that its label names."""
        shift, half = np.uint64(32 - PRECISION), np.uint64(16)
        last = (symbols.size - 1) // self._lanes * self._lanes
        for at in range(last, -1, -self._lanes):
            places = (labels[at : at + self._lanes], symbols[at : at + self._lanes])
            slots, starts = self._slots[places], self._starts[places]
            states = self._states[: slots.size]
            full = states >= slots << shift
            self._words.append((states[full] & np.uint64(LOW - 1)).astype(np.uint16))
            states[full] >>= half
            whole, rest = np.divmod(states, slots)
            states[:] = (whole << np.uint64(PRECISION)) + rest + starts

    def finish(self) -> tuple[npt.NDArray[np.uint32], bytes]:
        """Where the decoder's lanes start, and the words that they read."""
        words = np.concatenate([np.zeros(0, np.uint16), *self._words[::-1]])
        return self._states.astype(np.uint32), words.astype("<u2").tobytes()


def code_bits(counts: Integers, slots: Integers) -> float:
    """What symbols that occur this often take with these frequencies, in bits."""
    live = counts > 0
    return float((counts[live] * (PRECISION - np.log2(slots[live]))).sum())


def encode_stream(data: bytes) -> bytes:
    """A stream with one table for all of it: the mirror of `runtimes.rans.decode_stream`."""
    symbols = np.frombuffer(data, np.uint8)
    counts = np.bincount(symbols, minlength=ALPHABET)
    if np.count_nonzero(counts) < 2:  # a table has two symbols at least
        counts = counts + (np.arange(ALPHABET) < 2)
    table = histogram(counts)
    slots = slots_of(table, ALPHABET)
    lane_bits = lane_bits_for(code_bits(counts, slots) / 8, symbols.size, BYTES_PER_BARE_LANE)
    encoder = Encoder(lane_bits, slots[None], np.zeros(1 << lane_bits, np.uint16))
    encoder.phase(symbols, np.zeros(symbols.size, np.uint16))
    states, words = encoder.finish()
    return bytes([lane_bits]) + table + states.astype("<u4").tobytes() + words
