"""The methods that need the standard library alone: all that `pack --portable` uses.

They are also what a reader falls back to where numpy is missing. Slices move the bytes; only gaps
are walked one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from runtimes import decode
from runtimes.coders import Content
from runtimes.container import Span
from runtimes.decode import GAP_ESCAPE, Job, MethodFunction, read_stream, skeleton_pieces
from runtimes.untrusted import Cursor, damaged, wrong_size


def put(job: Job, content: Content) -> None:
    """Put a group's bytes where they belong in the original file."""
    job.of_size(len(content))
    at = 0
    if job.group is job.package.groups[0]:
        for begin, end in skeleton_pieces(job.package.spans, job.package.size_bytes):
            job.restored[begin:end] = content[at : at + end - begin]
            at += end - begin
        return
    for span in job.group.spans:
        _put_span(job, span, content[at : at + span.size_bytes])
        at += span.size_bytes


def _put_span(job: Job, span: Span, piece: Content) -> None:
    """Undo a span's axis order: the last coded axis is a slice with a step in the file."""
    item_bytes = job.group.item_bytes
    strides = [item_bytes * math.prod(span.shape[axis + 1 :]) for axis in span.order]
    lengths = [span.shape[axis] for axis in span.order]
    row = lengths[-1] * item_bytes
    for number, place in enumerate(_places(lengths[:-1], strides[:-1])):
        begin = span.offset + place
        end = begin + (lengths[-1] - 1) * strides[-1] + item_bytes
        line = piece[number * row : (number + 1) * row]
        if strides[-1] == item_bytes:
            job.restored[begin:end] = line
            continue
        for byte in range(item_bytes):
            job.restored[begin + byte : end : strides[-1]] = line[byte::item_bytes]


def _places(lengths: list[int], strides: list[int]) -> Iterator[int]:
    """The offset of each index of these axes, the last one running fastest."""
    if not lengths:
        yield 0
        return
    for outer in range(lengths[0]):
        for inner in _places(lengths[1:], strides[1:]):
            yield outer * strides[0] + inner


def flat(job: Job) -> None:
    """The group's bytes as they are."""
    (stream,) = job.streams(1)
    put(job, read_stream(stream, exactly=job.group.size_bytes))


def gap_value(job: Job) -> None:
    """Gaps between non-zero bytes in one stream, the non-zero bytes in the other."""
    size_bytes = job.group.size_bytes
    gaps = read_stream(job.streams(2)[0], at_most=size_bytes)
    values = read_stream(job.streams(2)[1], at_most=len(gaps))
    content = bytearray(size_bytes)
    at, used = 0, 0
    for gap in gaps:
        at += gap
        if gap == GAP_ESCAPE:
            continue
        if at >= size_bytes or used == len(values):
            raise damaged(
                "a group's gaps do not fit it",
                expected=f"{size_bytes} bytes, {len(values)} of them not zero",
                found="more",
            )
        content[at] = values[used]
        used += 1
        at += 1
    if at > size_bytes:
        raise damaged("a group's gaps do not fit it", expected=f"{size_bytes} bytes", found="more")
    if used != len(values):
        raise wrong_size("value stream", used, len(values))
    put(job, content)


def planes(job: Job) -> None:
    """Byte 0 of every item in the first stream, byte 1 in the second, and so on."""
    count = job.group.item_bytes
    items, rest = divmod(job.group.size_bytes, count)
    if rest:
        raise damaged("a group is no whole number of items", found=f"{rest} bytes more")
    content = bytearray(job.group.size_bytes)
    for plane, stream in enumerate(job.streams(count)):
        content[plane::count] = read_stream(stream, exactly=items)
    put(job, content)


def copy(job: Job) -> None:
    """Spans that hold the bytes of an earlier one."""
    stream = job.streams(1)[0]
    table = read_stream(stream, at_most=9 * len(job.group.spans))
    cursor = Cursor(memoryview(table), "copy table")
    for span in job.group.spans:
        source = job.earlier_span(span, cursor.varint())
        content = job.restored[source.offset : source.offset + source.size_bytes]
        job.restored[span.offset : span.offset + span.size_bytes] = content
    if cursor.left():
        raise damaged("a copy table is too long", found=f"{cursor.left()} bytes more")


METHODS: Final[dict[int, MethodFunction]] = {
    decode.METHOD_FLAT: flat,
    decode.METHOD_SPLIT: gap_value,
    decode.METHOD_PLANES: planes,
    decode.METHOD_COPY: copy,
}
