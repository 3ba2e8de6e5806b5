"""Decodes a package that `container.read` accepted, into the bytes of the original file.

A *method* turns the streams of a group into the group's bytes; one small function each, registered
under its number in the format. It checks the streams' sizes before it asks for memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Final

import numpy as np

from runtimes.coders import CODERS
from runtimes.container import Group, Package, Span, Stream
from runtimes.errors import PackageError
from runtimes.untrusted import Cursor, damaged, newer, wrong_size

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

METHOD_FLAT: Final = 0
METHOD_SPLIT: Final = 1
METHOD_PLANES: Final = 2
METHOD_ZIGZAG: Final = 3
METHOD_PRODUCT: Final = 4

GAP_ESCAPE: Final = 255  # this many zeros and no value
BLOCK_TOKENS: Final = 1 << 20  # gaps are summed in blocks, so that 64-bit sums stay small


@dataclass(frozen=True)
class Job:
    """What a method may use: its group, and the original file as far as it is restored."""

    package: Package
    group: Group
    restored: Bytes

    def streams(self, count: int) -> tuple[Stream, ...]:
        """The group's streams, of which there must be `count`."""
        if len(self.group.streams) != count:
            raise damaged(
                "a group has the wrong number of streams",
                expected=f"{count} for method {METHODS[self.group.method].name}",
                found=f"{len(self.group.streams)}",
            )
        return self.group.streams


MethodFunction = Callable[[Job], "Bytes"]


@dataclass(frozen=True)
class Method:
    """A group method under the name that summaries show."""

    name: str
    decode: MethodFunction


METHODS: Final[dict[int, Method]] = {}


def method(number: int, name: str) -> Callable[[MethodFunction], MethodFunction]:
    """Register a group method under its number in the format."""

    def register(function: MethodFunction) -> MethodFunction:
        if number in METHODS:
            raise ValueError(f"method {number} is registered already, as {METHODS[number].name}")
        METHODS[number] = Method(name, function)
        return function

    return register


def restore(package: Package) -> bytearray:
    """The original file's bytes, of which the SHA-256 matched.

    Raises:
        PackageError: a stream is damaged, uses a coder that this reader lacks, or the result is not
            the original file.
    """
    try:
        content = bytearray(package.size_bytes)
        restored = np.frombuffer(content, np.uint8)
        for group in package.groups:
            _splice(package, group, _decode(Job(package, group, restored)), restored)
    except MemoryError:
        raise PackageError(
            "the package needs more memory than is free",
            expected=f"about {3 * package.size_bytes} bytes",
            found="less",
            remedy="unpack on another machine and copy the file",
        ) from None
    digest = hashlib.sha256(content).digest()
    if digest != package.sha256:
        raise damaged(
            "the package does not restore its original file",
            expected=f"SHA-256 {package.sha256.hex()}",
            found=digest.hex(),
        )
    return content


def axis_order_undone(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that takes axes in `order` back to where they were."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def skeleton_pieces(spans: tuple[Span, ...], size_bytes: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of the original file that is in no span."""
    at = 0
    for span in spans:
        if span.offset > at:
            yield at, span.offset
        at = span.offset + span.size_bytes
    if size_bytes > at:
        yield at, size_bytes


def _decode(job: Job) -> Bytes:
    number = job.group.method
    if number not in METHODS:
        raise newer("method", number, ", ".join(f"{n} {METHODS[n].name}" for n in METHODS))
    content = METHODS[number].decode(job)
    if content.size != job.group.size_bytes:
        raise wrong_size("group", job.group.size_bytes, content.size)
    return content


def _splice(package: Package, group: Group, content: Bytes, restored: Bytes) -> None:
    """Put a group's bytes where they belong in the original file."""
    at = 0
    if group is package.groups[0]:
        for begin, end in skeleton_pieces(package.spans, package.size_bytes):
            restored[begin:end] = content[at : at + end - begin]
            at += end - begin
        return
    for span in group.spans:
        piece = content[at : at + span.size_bytes]
        shape = [span.shape[axis] for axis in span.order]
        axes = (*axis_order_undone(span.order), len(shape))
        array = piece.reshape(*shape, group.item_bytes).transpose(axes)
        restored[span.offset : span.offset + span.size_bytes] = array.reshape(-1)
        at += span.size_bytes


def read_stream(stream: Stream, *, exactly: int | None = None, at_most: int | None = None) -> Bytes:
    """Decode one stream, once its declared size is one that the method allows."""
    allowed = stream.size_bytes if exactly is None else exactly
    if stream.size_bytes != allowed or (at_most is not None and stream.size_bytes > at_most):
        raise damaged(
            "a stream declares a size that does not fit its group",
            expected=f"at most {at_most} bytes" if exactly is None else f"{exactly} bytes",
            found=f"{stream.size_bytes}",
        )
    if stream.coder not in CODERS:
        raise newer("coder", stream.coder, ", ".join(f"{n} {CODERS[n].name}" for n in CODERS))
    content = CODERS[stream.coder].decode(stream.stored, stream.size_bytes)
    if len(content) != stream.size_bytes:
        raise wrong_size("stream", stream.size_bytes, len(content))
    return np.frombuffer(content, np.uint8)


@method(METHOD_FLAT, "flat")
def _flat(job: Job) -> Bytes:
    (stream,) = job.streams(1)
    return read_stream(stream, exactly=job.group.size_bytes)


@method(METHOD_SPLIT, "gap/value")
def _split(job: Job) -> Bytes:
    """Gaps between non-zero bytes in one stream, the non-zero bytes in the other."""
    size_bytes = job.group.size_bytes
    gaps = read_stream(job.streams(2)[0], at_most=size_bytes)
    values = read_stream(job.streams(2)[1], at_most=gaps.size)
    content = np.zeros(size_bytes, np.uint8)
    last, used = -1, 0
    for start in range(0, gaps.size, BLOCK_TOKENS):
        block = gaps[start : start + BLOCK_TOKENS]
        lands = block != GAP_ESCAPE
        places = last + np.cumsum(block.astype(np.int64) + lands)
        last = int(places[-1])
        hits = places[lands]
        if last >= size_bytes or used + hits.size > values.size:
            raise damaged(
                "a group's gaps do not fit it",
                expected=f"{size_bytes} bytes, {values.size} of them not zero",
                found="more",
            )
        content[hits] = values[used : used + hits.size]
        used += hits.size
    if used != values.size:
        raise wrong_size("value stream", used, values.size)
    return content


@method(METHOD_PLANES, "byte planes")
def _planes(job: Job) -> Bytes:
    """Byte 0 of every item in the first stream, byte 1 in the second, and so on."""
    count = job.group.item_bytes
    items, rest = divmod(job.group.size_bytes, count)
    if rest:
        raise damaged("a group is no whole number of items", found=f"{rest} bytes more")
    content = np.empty((items, count), np.uint8)
    for plane, stream in enumerate(job.streams(count)):
        content[:, plane] = read_stream(stream, exactly=items)
    return content.reshape(-1)


@method(METHOD_ZIGZAG, "zigzag planes")
def _zigzag(job: Job) -> Bytes:
    """Byte planes of integers whose sign went to the lowest bit, so that high planes are zero."""
    if job.group.item_bytes != 4:
        raise damaged("zigzag planes are of 4-byte items", found=f"{job.group.item_bytes} bytes")
    folded = _planes(job).view("<u4")
    sign = np.where(folded & 1, np.uint32(0xFFFFFFFF), np.uint32(0))
    return (folded >> 1 ^ sign).astype("<u4").view(np.uint8)


@method(METHOD_PRODUCT, "product")
def _product(job: Job) -> Bytes:
    """Float32 spans that are a span of an earlier group times one float32 each."""
    group = job.group
    if group.item_bytes != 4 or not group.spans:
        raise damaged("a product is of float32 spans", found=f"{group.item_bytes}-byte items")
    stream = job.streams(1)[0]
    # A factor of 4 bytes and a span number of at most 9.
    table = read_stream(stream, at_most=13 * len(group.spans))
    cursor = Cursor(memoryview(table.tobytes()), "product table")
    factors = np.frombuffer(cursor.take(4 * len(group.spans)), "<f4")
    pieces = []
    for span, factor in zip(group.spans, factors):
        source = _earlier_span(job, span, cursor.varint())
        values = job.restored[source.offset : source.offset + source.size_bytes].view("<f4")
        pieces.append(scaled(values, factor))
    if cursor.left():
        raise damaged("a product table is too long", found=f"{cursor.left()} bytes more")
    return np.concatenate(pieces).view(np.uint8)


def scaled(values: npt.NDArray[np.float32], factor: np.float32) -> npt.NDArray[np.float32]:
    """Each value times the factor: exact in float64, then rounded once to float32."""
    with np.errstate(all="ignore"):
        return (values.astype(np.float64) * np.float64(factor)).astype("<f4")


def _earlier_span(job: Job, span: Span, number: int) -> Span:
    if number < len(job.package.spans):
        source = job.package.spans[number]
        if source.group < span.group and source.size_bytes == span.size_bytes:
            return source
    raise damaged(
        "a product names a span that it cannot use",
        expected=f"a span of an earlier group with {span.size_bytes} bytes",
        found=f"span {number}",
    )
