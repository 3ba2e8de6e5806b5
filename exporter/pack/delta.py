"""What a delta package builds on: which old array each new one succeeds, and how the rest moved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from exporter.pack.methods import CodedGroup, Source
from exporter.pack.numbers import varint, zigzag
from exporter.pack.spans import Located, find_spans, format_of
from exporter.pack.streams import Device, squeeze
from runtimes import decode
from runtimes.container import Base, Span


@dataclass(frozen=True)
class Old:
    """The base of a delta.

    `places` has the offset in the base of each new span, by its place, that has a counterpart
    there.
    """

    content: bytes
    places: dict[int, int]

    @property
    def base(self) -> Base:
        """What the package says of it."""
        return Base(hashlib.sha256(self.content).digest(), len(self.content))


def find_old(content: bytes, name: str, located: Sequence[Located]) -> Old:
    """Match the spans of a new file with those of the old one: same kind and shape, same order."""
    before = find_spans(content, format_of(content, name)).spans
    matcher = SequenceMatcher(None, _keys(before), _keys(located), autojunk=False)
    places = {
        block.b + step: before[block.a + step].offset
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    }
    return Old(content, places)


def _keys(spans: Sequence[Located]) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(one.kind, one.item_bytes, one.shape) for one in spans]


def patch_skeleton(data: bytes, spans: Sequence[Span], old: Old, device: Device) -> CodedGroup:
    """The skeleton as pieces of the base, changed a little, and new bytes between them.

    What lies before a span moved as the span did. So each piece is what the base has between the
    same two spans, as far as both ends agree; what is new lies in the middle.
    """
    operations, moves, fresh = bytearray(), bytearray(), bytearray()
    at_base = 0
    for piece, left, right in _pieces(data, spans, old):
        head, tail = _split(piece, old.content, left, right)
        for begin, end, place in ((0, head, left), (len(piece) - tail, len(piece), right - tail)):
            new = b"" if begin or head + tail == len(piece) else piece[head : len(piece) - tail]
            if begin == end and not new:
                continue
            operations += varint(zigzag(place - at_base)) + varint(end - begin) + varint(len(new))
            before = np.frombuffer(old.content, np.uint8, end - begin, place)
            moves += (np.frombuffer(piece[begin:end], np.uint8) - before).tobytes()
            fresh += new
            at_base = place + end - begin
    streams = tuple(squeeze(bytes(one), device) for one in (operations, moves, fresh))
    return CodedGroup("skeleton", 1, decode.METHOD_PATCH, len(moves) + len(fresh), streams)


def skeleton_source(data: bytes, spans: Sequence[Span], old: Old | None) -> Source:
    """The skeleton, with the bytes that lie in the same places of the base if that is as long."""
    pieces = list(decode.skeleton_pieces(tuple(spans), len(data)))
    content = b"".join(data[begin:end] for begin, end in pieces)
    if old is None or len(old.content) != len(data):
        return Source("skeleton", 1, content)
    before = b"".join(old.content[begin:end] for begin, end in pieces)
    return Source("skeleton", 1, content, old=before)


def _pieces(data: bytes, spans: Sequence[Span], old: Old) -> Iterator[tuple[bytes, int, int]]:
    """Each piece of the skeleton, and where in the base its begin and its end would be."""
    limit = len(old.content)
    ends = [(0, 0), *((one.offset + one.size_bytes, _moved(one)) for one in spans)]
    begins = [*((one.offset, _moved(one)) for one in spans), (len(data), limit - len(data))]
    last = 0
    for (begin, left), (end, right) in zip(ends, begins, strict=True):
        if begin == end:
            continue
        shift = left if left is not None else last
        last = right if right is not None else shift
        yield (
            data[begin:end],
            min(max(begin + shift, 0), limit),
            min(max(end + last, 0), limit),
        )


def _moved(span: Span) -> int | None:
    return None if span.base_offset is None else span.base_offset - span.offset


def _split(piece: bytes, base: bytes, left: int, right: int) -> tuple[int, int]:
    """How much of a piece is taken from the base at its begin, and how much at its end."""
    if right - left == len(piece):
        return len(piece), 0
    room = max(0, min(len(piece), right - left))
    head = _common(piece[:room], base[left : left + room])
    room -= head
    tail = _common(piece[len(piece) - room :][::-1], base[right - room : right][::-1])
    return head, tail


def _common(a: bytes, b: bytes) -> int:
    """How many bytes two runs of one length have in common at their begin."""
    differ = np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8)
    return int(differ.argmax()) if differ.any() else differ.size
