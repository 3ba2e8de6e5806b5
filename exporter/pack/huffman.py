"""The encoder of canonical Huffman codes: the mirror of `runtimes.huffman`."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from exporter.pack.rans import lane_bits_for
from runtimes.huffman import MAX_LENGTH, bit_reversed
from runtimes.rans import ALPHABET

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

# A lane takes its length, two bytes, and half a byte of padding.
BYTES_PER_LANE = 400
MAX_LANE_BYTES = 1 << 15  # a lane's length has 16 bits; lanes differ by a little


def encode_stream(data: bytes) -> bytes | None:
    """u8 lanes, u8 symbols less one, a nibble for each symbol's length, lane sizes, lanes.

    None if a lane would be too long for its size, which takes a stream that no other coder likes.
    """
    symbols = np.frombuffer(data, np.uint8)
    counts = np.bincount(symbols, minlength=ALPHABET)
    if np.count_nonzero(counts) < 2:  # a code has two symbols at least
        counts = counts + (np.arange(ALPHABET) < 2)
    lengths = code_lengths(counts)
    bits = int((counts * lengths).sum())
    lane_bits = lane_bits_for(bits / 8, symbols.size, BYTES_PER_LANE)
    while bits / 8 > MAX_LANE_BYTES << lane_bits:
        lane_bits += 1
    lanes = _lanes(symbols, lengths, 1 << lane_bits)
    if max(map(len, lanes)) > 0xFFFF:
        return None
    sizes = np.array([len(lane) for lane in lanes], "<u2").tobytes()
    return bytes([lane_bits]) + _table(lengths) + sizes + b"".join(lanes)


def code_lengths(counts: Integers) -> Integers:
    """Bits of each symbol's code, at most `MAX_LENGTH`; 0 for one that never occurs.

    D. Huffman's method. Where a code comes out too long, the rarest symbols are taken to occur more
    often, until none does: that costs next to nothing at 12 bits.
    """
    floor = 1
    while True:
        lengths = _unlimited(np.where(counts > 0, np.maximum(counts, floor), 0))
        if lengths.max() <= MAX_LENGTH:
            return lengths
        floor = max(2 * floor, int(counts.sum()) >> MAX_LENGTH)


def _unlimited(counts: Integers) -> Integers:
    lengths = np.zeros(ALPHABET, np.int64)
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (int(counts[one]), int(one), (int(one),)) for one in np.flatnonzero(counts)
    ]
    heapq.heapify(heap)
    while len(heap) > 1:
        few, _, left = heapq.heappop(heap)
        more, tie, right = heapq.heappop(heap)
        lengths[[*left, *right]] += 1
        heapq.heappush(heap, (few + more, tie, left + right))
    return lengths


def _table(lengths: Integers) -> bytes:
    count = int(np.flatnonzero(lengths)[-1]) + 1
    padded = np.concatenate((lengths[:count], np.zeros(count % 2, np.int64)))
    return bytes([count - 1]) + (padded[::2] | padded[1::2] << 4).astype(np.uint8).tobytes()


def _codes(lengths: Integers) -> Integers:
    """The canonical code of each symbol, its first bit lowest."""
    codes = np.zeros(ALPHABET, np.int64)
    place = 0
    turned = bit_reversed()
    used = np.flatnonzero(lengths)
    for symbol in used[np.argsort(lengths[used], kind="stable")]:
        codes[symbol] = turned[place] & (1 << lengths[symbol]) - 1
        place += 1 << (MAX_LENGTH - int(lengths[symbol]))
    return codes


def _lanes(symbols: Bytes, lengths: Integers, count: int) -> list[bytes]:
    codes = _codes(lengths)
    steps = -(-symbols.size // count)
    return [
        _bits(codes[part], lengths[part])
        for part in (symbols[lane * steps : (lane + 1) * steps] for lane in range(count))
    ]


def _bits(codes: Integers, lengths: Integers) -> bytes:
    """The codes one behind the other, the lowest bit of each byte first."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if ends.size else 0
    places = np.arange(total) - np.repeat(ends - lengths, lengths)
    bits = (np.repeat(codes, lengths) >> places & 1).astype(np.uint8)
    return np.packbits(bits, bitorder="little").tobytes()
