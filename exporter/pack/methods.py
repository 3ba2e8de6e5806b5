"""Turns a group of spans into streams by every method that suits it, and keeps the smallest.

The mirror of the methods in `runtimes.decode`, one function each, registered under the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack.spans import Kind
from exporter.pack.streams import Coded, squeeze
from runtimes import decode

Bytes = npt.NDArray[np.uint8]

# What an entry of the header takes beside the stream itself, about, in bytes.
GROUP_OVERHEAD_BYTES: Final = 3
STREAM_OVERHEAD_BYTES: Final = 4
# A method is tried in full if its estimate is at most this many times the best one.
WORTH: Final = 1.1


@dataclass(frozen=True)
class CodedGroup:
    """A group as the package stores it."""

    item_bytes: int
    method: int
    size_bytes: int
    streams: tuple[Coded, ...]

    @property
    def stored_bytes(self) -> int:
        """What the streams take, in bytes."""
        return sum(len(stream.stored) for stream in self.streams)

    @property
    def cost_bytes(self) -> int:
        """What the group takes with its place in the header, about, in bytes."""
        return self.stored_bytes + GROUP_OVERHEAD_BYTES + STREAM_OVERHEAD_BYTES * len(self.streams)


Split = Callable[[Bytes, int], "list[bytes] | None"]
SPLITTERS: Final[dict[int, tuple[frozenset[Kind], Split]]] = {}


def splitter(number: int, *kinds: Kind) -> Callable[[Split], Split]:
    """Register how a method cuts a group of these kinds into streams."""

    def register(function: Split) -> Split:
        if number in SPLITTERS:
            raise ValueError(f"method {number} has a splitter already")
        SPLITTERS[number] = (frozenset(kinds), function)
        return function

    return register


def code_group(
    content: bytes, item_bytes: int, kind: Kind | None, *, brotli: bool, quick: bool = False
) -> CodedGroup:
    """The smallest coding of a group's bytes.

    Args:
        content: the group's spans, transposed and put together.
        item_bytes: size of an item of the group.
        kind: what the group holds; None for the skeleton, which is only ever coded as it is.
        brotli: allow brotli.
        quick: only estimate.
    """
    array = np.frombuffer(content, np.uint8)
    cut = {}
    for number, (kinds, split) in SPLITTERS.items():
        streams = split(array, item_bytes) if kind in kinds or number == FLAT else None
        if streams is not None:
            cut[number] = streams

    def coded(number: int, quick: bool) -> CodedGroup:
        squeezed = tuple(squeeze(one, brotli=brotli, quick=quick) for one in cut[number])
        return CodedGroup(item_bytes, number, len(content), squeezed)

    # LZMA takes its time over the long runs of a sparse group that gap/value codes much better.
    estimates = [coded(number, quick=True) for number in cut]
    best = min(estimates, key=_cost_bytes)
    if quick:
        return best
    promising = [one.method for one in estimates if one.cost_bytes <= WORTH * best.cost_bytes]
    return min((coded(number, quick=False) for number in promising), key=_cost_bytes)


def _cost_bytes(group: CodedGroup) -> int:
    return group.cost_bytes


FLAT: Final = decode.METHOD_FLAT


@splitter(decode.METHOD_FLAT, "weights", "biases", "floats")
def _flat(content: Bytes, item_bytes: int) -> list[bytes]:
    return [content.tobytes()]


@splitter(decode.METHOD_SPLIT, "weights")
def gap_value(content: Bytes, item_bytes: int) -> list[bytes] | None:
    """Gaps and values; None for dense content, where it only ever loses.

    A gap of n zeros is n // 255 escapes and a rest. Zeros behind the last value are left out: the
    group's size implies them.
    """
    places = np.flatnonzero(content)
    if 2 * places.size > content.size:
        return None
    gaps = np.diff(places, prepend=-1) - 1
    escapes = gaps // decode.GAP_ESCAPE
    last = np.cumsum(escapes + 1) - 1
    tokens = np.full(int((escapes + 1).sum()), decode.GAP_ESCAPE, np.uint8)
    tokens[last] = gaps % decode.GAP_ESCAPE
    return [tokens.tobytes(), content[places].tobytes()]


@splitter(decode.METHOD_PLANES, "biases", "floats")
def planes(content: Bytes, item_bytes: int) -> list[bytes]:
    """Byte 0 of every item, then byte 1 of every item, and so on."""
    return [plane.tobytes() for plane in content.reshape(-1, item_bytes).T]


@splitter(decode.METHOD_ZIGZAG, "biases")
def zigzag(content: Bytes, item_bytes: int) -> list[bytes] | None:
    """Planes of integers with their sign in the lowest bit."""
    if item_bytes != 4:
        return None
    signed = content.view("<i4")
    folded = (signed.view("<u4") << 1) ^ (signed >> 31).view("<u4")
    return planes(folded.astype("<u4").view(np.uint8), item_bytes)
