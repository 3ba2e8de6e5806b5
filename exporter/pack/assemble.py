"""Writes a package's header and puts the package together: the mirror of `runtimes.container`."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from exporter.pack.methods import CodedGroup
from exporter.pack.numbers import varint, zigzag
from runtimes import container
from runtimes.container import Base, Section, Span


def assemble(
    head: bytes,
    spans: Sequence[Span],
    groups: Sequence[CodedGroup],
    sections: Sequence[Section] = (),
    *,
    signed: bool = False,
) -> bytes:
    """The package, without the signature that is to follow if it is `signed`.

    Args:
        head: what `describe` gave.
        spans: in ascending order of their offsets.
        groups: the skeleton, then the groups that the spans name.
        sections: optional parts of the header.
        signed: whether a signature is to follow.
    """
    payload = b"".join(stream.stored for group in groups for stream in group.streams)
    body = b"".join(
        (
            head,
            zlib.crc32(payload).to_bytes(4, "little"),
            _group_table(groups),
            _span_table(spans, groups),
            varint(len(sections)),
            *(varint(one.tag) + varint(len(one.content)) + one.content for one in sections),
        )
    )
    return seal(body, container.FLAG_SIGNED if signed else 0) + payload


def describe(name: str, file_format: str, size_bytes: int, sha256: bytes) -> bytes:
    """The part of the header that says what the original file was."""
    encoded = name.encode("utf-8")
    code = container.FORMATS.index(file_format)
    return varint(len(encoded)) + encoded + bytes([code]) + varint(size_bytes) + sha256


def seal(header: bytes, flags: int = 0) -> bytes:
    """Everything in front of the payload: the header, deflated where that helps, and its CRC."""
    stored = min((_deflated(header, strategy) for strategy in range(5)), key=len)
    if len(stored) >= len(header):
        stored = header
    else:
        flags |= container.FLAG_DEFLATED_HEADER
    front = container.MAGIC + bytes([container.VERSION, flags])
    front += varint(len(stored)) + varint(len(header)) + stored
    return front + zlib.crc32(front).to_bytes(4, "little")


def base_section(base: Base, spans: Sequence[Span]) -> Section:
    """Names the base of a delta, and where each span's counterpart lies in it."""
    places = (
        0 if span.base_offset is None else 1 + zigzag(span.base_offset - span.offset)
        for span in spans
    )
    content = base.sha256 + varint(base.size_bytes) + b"".join(map(varint, places))
    return Section(container.SECTION_BASE, content)


def release_section(release: int) -> Section:
    """Names the release, which only ever rises."""
    return Section(container.SECTION_RELEASE, varint(release))


def simplified(
    shape: tuple[int, ...], order: tuple[int, ...], *, keep_rows: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest array and axis order that mean the same bytes.

    Axes of length one go, and axes that stay neighbours become one: a 1x1 convolution's weights
    need no order at all, and others three axes at the most. With `keep_rows`, the first axis of
    those coded stays one of its own.
    """
    kept = [axis for axis in order if shape[axis] > 1]
    runs: list[list[int]] = []
    long_axes = sorted(kept)
    for axis in kept:
        previous = long_axes.index(axis) - 1
        row = keep_rows and len(runs) == 1
        if runs and previous >= 0 and runs[-1][-1] == long_axes[previous] and not row:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if not runs:
        return (1,), (0,)
    in_file = sorted(runs)
    lengths = tuple(math.prod(shape[axis] for axis in run) for run in in_file)
    return lengths, tuple(in_file.index(run) for run in runs)


def order_number(order: tuple[int, ...]) -> int:
    """The place of a permutation in the lexicographic list of all of its length."""
    number = 0
    for place, axis in enumerate(order):
        smaller = sum(later < axis for later in order[place + 1 :])
        number += smaller * math.factorial(len(order) - 1 - place)
    return number


def _deflated(header: bytes, strategy: int) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return coder.compress(header) + coder.flush()


def _group_table(groups: Sequence[CodedGroup]) -> bytes:
    out = bytearray(varint(len(groups)))
    for group in groups:
        content = container.CONTENTS.index(group.content)
        out += bytes([content, group.item_bytes, group.method]) + varint(len(group.streams))
        for stream in group.streams:
            out += bytes([stream.coder]) + varint(stream.size_bytes) + varint(len(stream.stored))
    return bytes(out)


def _span_table(spans: Sequence[Span], groups: Sequence[CodedGroup]) -> bytes:
    ends = [0, *(span.offset + span.size_bytes for span in spans)]
    columns = (
        [varint(span.group) for span in spans],
        [varint(span.offset - end) for span, end in zip(spans, ends, strict=False)],
        [bytes([len(span.shape)]) for span in spans],
        [varint(order_number(span.order)) for span in spans],
        [varint(length) for span in spans for length in span.shape],
    )
    return varint(len(spans)) + b"".join(part for column in columns for part in column)
