"""Canonical Huffman codes over bytes, decoded many lanes at a time.

The code is Deep Compression's last stage (S. Han et al., arXiv:1510.00149); its table, a length for
each symbol, comes in the stream. The content is cut into as many equal parts as there are lanes, so
that numpy can decode one symbol of each part at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from runtimes.rans import MAX_STEPS, lane_count
from runtimes.untrusted import Cursor, damaged

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int64]

MAX_LENGTH: Final = 12  # bits of a code


def decode_stream(stored: memoryview, size_bytes: int) -> bytes:
    """u8 lanes, u8 symbols less one, a nibble for each symbol's length, lane sizes, lanes."""
    cursor = Cursor(stored, "Huffman stream")
    lanes = lane_count(cursor.byte())
    table = decoding_table(_read_lengths(cursor))
    steps = -(-size_bytes // lanes)
    if steps > MAX_STEPS:
        raise damaged(
            "a Huffman stream has too few lanes",
            expected=f"at least {-(-size_bytes // MAX_STEPS)} for {size_bytes} bytes",
            found=f"{lanes}",
        )
    sizes = np.frombuffer(cursor.take(2 * lanes), "<u2").astype(np.int64)
    ends = np.cumsum(sizes)
    if int(ends[-1]) != cursor.left():
        raise damaged(
            "a Huffman stream's lanes do not fit it",
            expected=f"{int(ends[-1])} bytes",
            found=f"{cursor.left()}",
        )
    content = np.frombuffer(cursor.take(cursor.left()), np.uint8)
    return _decode(content, ends - sizes, ends, table, size_bytes)


def decoding_table(lengths: Bytes) -> npt.NDArray[np.uint16]:
    """What each `MAX_LENGTH` bits begin with: length << 8 | symbol, [2 ** MAX_LENGTH].

    Codes are numbered by length, then by symbol (RFC 1951, 3.2.2), and lie in the stream with
    their first bit in the lowest place.

    Raises:
        PackageError: the lengths are those of no complete code.
    """
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    widths = 1 << (MAX_LENGTH - lengths[order].astype(np.int64))
    if int(widths.sum()) != 1 << MAX_LENGTH or int(lengths.max(initial=0)) > MAX_LENGTH:
        raise damaged(
            "a Huffman table is no complete code",
            expected=f"lengths up to {MAX_LENGTH} that fill the code",
            found=f"{int(widths.sum())} of {1 << MAX_LENGTH}",
        )
    entries = lengths[order].astype(np.uint16) << np.uint16(8) | order.astype(np.uint16)
    return np.repeat(entries, widths)[bit_reversed()]


def bit_reversed() -> Integers:
    """Every number of `MAX_LENGTH` bits read backwards."""
    numbers = np.arange(1 << MAX_LENGTH)
    turned = np.zeros_like(numbers)
    for bit in range(MAX_LENGTH):
        turned |= (numbers >> bit & 1) << (MAX_LENGTH - 1 - bit)
    return turned


def _read_lengths(cursor: Cursor) -> Bytes:
    symbols = 1 + cursor.byte()
    packed = np.frombuffer(cursor.take(-(-symbols // 2)), np.uint8)
    lengths = np.stack((packed & 15, packed >> 4), axis=1).reshape(-1)
    if lengths[symbols:].any():
        raise damaged("a Huffman table is longer than it declares")
    return lengths[:symbols]


def _decode(
    content: Bytes,
    begins: Integers,
    ends: Integers,
    table: npt.NDArray[np.uint16],
    size_bytes: int,
) -> bytes:
    """Step through all lanes at once; the last lane may have fewer symbols than the others."""
    padded = np.concatenate((content, np.zeros(3, np.uint8))).astype(np.uint32)
    windows = padded[:-2] | padded[1:-1] << np.uint32(8) | padded[2:] << np.uint32(16)
    steps = -(-size_bytes // begins.size)
    found = np.empty((steps, begins.size), np.uint8)
    places = 8 * begins
    lane_steps = np.clip(size_bytes - steps * np.arange(begins.size), 0, steps)
    for step in range(steps):
        window = windows.take(places >> 3, mode="clip") >> (places & 7).astype(np.uint32)
        entry = table.take(window & np.uint32((1 << MAX_LENGTH) - 1))
        found[step] = entry.astype(np.uint8)  # the low byte
        places += (entry >> np.uint16(8)) * (step < lane_steps)
    if ((places + 7) >> 3 != ends).any():
        raise damaged("a Huffman lane does not end where it should")
    return found.T.reshape(-1)[:size_bytes].tobytes()
