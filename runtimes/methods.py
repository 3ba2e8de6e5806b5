"""The simple methods of a package's groups, with numpy; `runtimes.portable` has those without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from runtimes import decode, portable
from runtimes.arrays import Filler, method, put
from runtimes.decode import GAP_ESCAPE, Job, read_stream, stream_pieces
from runtimes.untrusted import Cursor, damaged, wrong_size

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

# Gaps are summed in blocks: the sums, and what they expand to, stay in a cache and take little.
BLOCK_TOKENS: Final = 1 << 13

method(decode.METHOD_COPY)(portable.copy)


@method(decode.METHOD_FLAT)
def _flat(job: Job) -> None:
    (stream,) = job.streams(1)
    filler = Filler(job)
    for piece in stream_pieces(stream, exactly=job.group.size_bytes):
        filler.put(np.frombuffer(piece, np.uint8))


@method(decode.METHOD_SPLIT)
def _gap_value(job: Job) -> None:
    """Gaps between non-zero bytes in one stream, the non-zero bytes in the other."""
    size_bytes = job.group.size_bytes
    gaps = np.frombuffer(read_stream(job.streams(2)[0], at_most=size_bytes), np.uint8)
    values = np.frombuffer(read_stream(job.streams(2)[1], at_most=gaps.size), np.uint8)
    filler = Filler(job)
    done, used = 0, 0
    for start in range(0, gaps.size, BLOCK_TOKENS):
        block = gaps[start : start + BLOCK_TOKENS]
        lands = block != GAP_ESCAPE
        places = np.cumsum(block, dtype=np.int64)
        places += np.cumsum(lands, dtype=np.int64)
        end = done + int(places[-1])
        hits = places if lands.all() else places[lands]
        if end > size_bytes or used + hits.size > values.size:
            raise damaged(
                "a group's gaps do not fit it",
                expected=f"{size_bytes} bytes, {values.size} of them not zero",
                found="more",
            )
        content = np.zeros(end - done, np.uint8)
        content[hits - 1] = values[used : used + hits.size]
        filler.put(content)
        done, used = end, used + hits.size
    if used != values.size:
        raise wrong_size("value stream", used, values.size)
    filler.put(np.zeros(size_bytes - done, np.uint8))


def read_planes(job: Job) -> Bytes:
    """The items of a group in byte planes, [items, bytes of an item]."""
    count = job.group.item_bytes
    items, rest = divmod(job.group.size_bytes, count)
    if rest:
        raise damaged("a group is no whole number of items", found=f"{rest} bytes more")
    content = np.empty((items, count), np.uint8)
    for plane, stream in enumerate(job.streams(count)):
        content[:, plane] = np.frombuffer(read_stream(stream, exactly=items), np.uint8)
    return content


@method(decode.METHOD_PLANES)
def _planes(job: Job) -> None:
    """Byte 0 of every item in the first stream, byte 1 in the second, and so on."""
    put(job, read_planes(job).reshape(-1))


@method(decode.METHOD_ZIGZAG)
def _zigzag(job: Job) -> None:
    """Byte planes of integers whose sign went to the lowest bit, so that high planes are zero."""
    put(job, unfolded(read_planes(job)).view(np.uint8))


def unfolded(items: Bytes) -> npt.NDArray[np.unsignedinteger]:
    """Integers whose sign went to the lowest bit, [items, bytes] to [items], two's complement."""
    kind = np.dtype(f"<u{items.shape[1]}")
    folded = items.reshape(-1).view(kind)
    one = kind.type(1)
    return np.asarray((folded >> one) ^ (kind.type(0) - (folded & one)), kind)


@method(decode.METHOD_PRODUCT)
def _product(job: Job) -> None:
    """Float32 spans that are a span of an earlier group times one float32 each."""
    group = job.group
    if group.item_bytes != 4 or not group.spans:
        raise damaged("a product is of float32 spans", found=f"{group.item_bytes}-byte items")
    stream = job.streams(1)[0]
    # A factor of 4 bytes and a span number of at most 9.
    table = read_stream(stream, at_most=13 * len(group.spans))
    cursor = Cursor(memoryview(table), "product table")
    factors = np.frombuffer(cursor.take(4 * len(group.spans)), "<f4")
    for span, factor in zip(group.spans, factors):
        source = job.earlier_span(span, cursor.varint())
        values = np.frombuffer(job.restored, "<f4", source.size_bytes // 4, source.offset)
        job.restored[span.offset : span.offset + span.size_bytes] = scaled(values, factor).tobytes()
    if cursor.left():
        raise damaged("a product table is too long", found=f"{cursor.left()} bytes more")


def scaled(values: npt.NDArray[np.float32], factor: np.float32) -> npt.NDArray[np.float32]:
    """Each value times the factor: exact in float64, then rounded once to float32."""
    with np.errstate(all="ignore"):
        return (values.astype(np.float64) * np.float64(factor)).astype("<f4")
