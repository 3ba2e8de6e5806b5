"""Turns a group of spans into streams by every method that suits it, and keeps the smallest.

The mirror of the methods in `runtimes`, one function each, registered under the same number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack import classes, moved
from exporter.pack.spans import Kind
from exporter.pack.streams import Coded, Device, estimated_bytes, squeeze
from runtimes import decode, portable

Bytes = npt.NDArray[np.uint8]

# What an entry of the header takes beside the stream itself, about, in bytes.
GROUP_OVERHEAD_BYTES: Final = 4
STREAM_OVERHEAD_BYTES: Final = 4
# What is coded in full: estimates up to this many times the best one; of large content the best
# alone, as LZMA takes half a minute for 50 MB of dense weights, and rarely shrinks them.
WORTH: Final = 1.1
LARGE_BYTES: Final = 1 << 23


@dataclass(frozen=True)
class Source:
    """What a group holds, in the order in which it is coded.

    Attributes:
        kind: what its spans are; "skeleton" for the rest of the file.
        item_bytes: size of an item.
        content: the spans put together.
        matrices: weights as [rows, columns] each, for class rANS.
        old: the counterparts in the base of a delta, in the same order; None if a span has none.
    """

    kind: Kind
    item_bytes: int
    content: bytes
    matrices: tuple[Bytes, ...] = ()
    old: bytes | None = None

    @property
    def array(self) -> Bytes:
        """The content as bytes, [size]."""
        return np.frombuffer(self.content, np.uint8)


@dataclass(frozen=True)
class CodedGroup:
    """A group as the package stores it."""

    content: Kind
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


Split = Callable[[Source], "list[bytes] | None"]
SPLITTERS: Final[dict[int, tuple[frozenset[Kind], Split]]] = {}


def splitter(number: int, *kinds: Kind) -> Callable[[Split], Split]:
    """Register how a method cuts a group of these kinds into streams."""

    def register(function: Split) -> Split:
        if number in SPLITTERS:
            raise ValueError(f"method {number} has a splitter already")
        SPLITTERS[number] = (frozenset(kinds), function)
        return function

    return register


@dataclass(frozen=True)
class _Way:
    """A method with what it is about to take, and how to code by it."""

    method: int
    estimate_bytes: float
    code: Callable[[], CodedGroup]


def code_group(source: Source, device: Device) -> CodedGroup:
    """The smallest coding of a group.

    Args:
        source: what to code.
        device: what the reader has.
    """
    ways = _ways(source, device)
    limit = worth(len(source.content)) * min(way.estimate_bytes for way in ways)
    coded = [way.code() for way in ways if way.estimate_bytes <= limit]
    return min(coded, key=lambda one: one.cost_bytes)


def worth(size_bytes: int) -> float:
    """How many times the best estimate another one may be, for it to be tried in full."""
    return WORTH if size_bytes <= LARGE_BYTES else 1.0


def estimate_group(source: Source, device: Device) -> float:
    """About what `code_group` would take, in bytes, in a fraction of the time."""
    return min(way.estimate_bytes for way in _ways(source, device))


def _ways(source: Source, device: Device) -> list[_Way]:
    ways = []
    for number, (kinds, split) in SPLITTERS.items():
        readable = device.numpy or number in portable.METHODS
        streams = split(source) if source.kind in kinds and readable else None
        if streams is not None:
            ways.append(_split_way(source, device, number, streams))
    if source.kind == "weights" and source.matrices and device.numpy:
        ways += _class_ways(source, device)
    return ways


def _split_way(source: Source, device: Device, number: int, streams: list[bytes]) -> _Way:
    # LZMA takes its time over the long runs of a sparse group that gap/value codes much better.
    estimate = sum(map(estimated_bytes, streams))
    overhead = GROUP_OVERHEAD_BYTES + STREAM_OVERHEAD_BYTES * len(streams)

    def code() -> CodedGroup:
        return _group(source, number, tuple(squeeze(one, device) for one in streams))

    return _Way(number, estimate + overhead, code)


def _class_ways(source: Source, device: Device) -> list[_Way]:
    ways = []
    estimate = math.inf if device.fast else classes.estimated_bytes(source.matrices)
    if estimate < math.inf:

        def by_class() -> CodedGroup:
            streams = classes.code_matrices(source.matrices, device)
            return _group(source, decode.METHOD_CLASSES, streams)

        ways.append(_Way(decode.METHOD_CLASSES, estimate, by_class))
    old = source.old
    if old is not None:
        before = np.frombuffer(old, np.uint8)

        def by_move() -> CodedGroup:
            streams = moved.code_moved(source.array, before, device)
            return _group(source, decode.METHOD_MOVED, streams)

        ways.append(_Way(decode.METHOD_MOVED, moved.estimated_bytes(source.array, before), by_move))
    return ways


def _group(source: Source, number: int, streams: tuple[Coded, ...]) -> CodedGroup:
    return CodedGroup(source.kind, source.item_bytes, number, len(source.content), streams)


@splitter(decode.METHOD_FLAT, "skeleton", "weights", "biases", "floats")
def _flat(source: Source) -> list[bytes]:
    return [source.content]


@splitter(decode.METHOD_SPLIT, "weights")
def gap_value(source: Source) -> list[bytes] | None:
    """Gaps and values; None for dense content, where it only ever loses.

    A gap of n zeros is n // 255 escapes and a rest. Zeros behind the last value are left out: the
    group's size implies them.
    """
    content = source.array
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
def planes(source: Source) -> list[bytes]:
    """Byte 0 of every item, then byte 1 of every item, and so on."""
    return [plane.tobytes() for plane in source.array.reshape(-1, source.item_bytes).T]


@splitter(decode.METHOD_ZIGZAG, "biases")
def zigzag(source: Source) -> list[bytes]:
    """Planes of integers with their sign in the lowest bit."""
    return _folded_planes(source.array.view(f"<i{source.item_bytes}"))


@splitter(decode.METHOD_DIFFERENCE, "skeleton", "weights", "biases", "floats")
def difference(source: Source) -> list[bytes] | None:
    """Planes of how far each item moved since the base, the sign in the lowest bit."""
    if source.old is None:
        return None
    kind = f"<i{source.item_bytes}"
    return _folded_planes(source.array.view(kind) - np.frombuffer(source.old, kind))


def _folded_planes(signed: npt.NDArray[np.signedinteger]) -> list[bytes]:
    item_bytes = signed.dtype.itemsize
    folded = (signed << 1) ^ (signed >> (8 * item_bytes - 1))
    return [plane.tobytes() for plane in folded.view(np.uint8).reshape(-1, item_bytes).T]
