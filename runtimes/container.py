"""The .ewp package: its bytes read and checked, before anything in it is decoded.

FORMAT.md, beside this file, is the specification. The packer imports its numbers from here, so that
the two sides cannot differ. Nothing in this module trusts a package: every size is bounded before
memory is asked for, and whatever does not fit is a `PackageError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from runtimes.errors import PackageError
from runtimes.untrusted import NEWER_REMEDY, Cursor, check_crc, damaged, inflate, wrong_size

MAGIC: Final = b"\x89EWP"  # the high bit shows a transfer that strips it
VERSION: Final = 1
FLAG_DEFLATED_HEADER: Final = 1
KNOWN_FLAGS: Final = FLAG_DEFLATED_HEADER

FORMATS: Final = ("other", "tflite", "onnx", "ort")

DEFAULT_CEILING_BYTES: Final = 1 << 30
MAX_HEADER_BYTES: Final = 4 << 20
MAX_NAME_BYTES: Final = 255
MAX_RANK: Final = 8
ITEM_BYTES: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class Span:
    """A run of bytes of the original file that belongs to a group.

    The file holds an array of `shape` at `offset`; the coder saw it transposed to `order`.
    """

    offset: int
    size_bytes: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    group: int


@dataclass(frozen=True)
class Stream:
    """One coded run of bytes: `size_bytes` is its decoded length, as declared."""

    coder: int
    size_bytes: int
    stored: memoryview


@dataclass(frozen=True)
class Group:
    """Spans that are coded together. Group 0 is the skeleton: all that is in no span."""

    item_bytes: int
    method: int
    streams: tuple[Stream, ...]
    spans: tuple[Span, ...]
    size_bytes: int

    @property
    def stored_bytes(self) -> int:
        """What the group's streams take in the package, in bytes."""
        return sum(len(stream.stored) for stream in self.streams)


@dataclass(frozen=True)
class Section:
    """An optional part of the header. A reader that does not know an odd tag must refuse."""

    tag: int
    content: bytes


@dataclass(frozen=True)
class Package:
    """A package whose header and payload passed every check that needs no decoding.

    `size_bytes` and `sha256` are the original file's, `package_bytes` and `header_bytes` the
    package's own.
    """

    version: int
    name: str
    format: str
    size_bytes: int
    sha256: bytes
    groups: tuple[Group, ...]
    spans: tuple[Span, ...]
    sections: tuple[Section, ...]
    header_bytes: int
    package_bytes: int


def read(data: bytes, *, ceiling_bytes: int = DEFAULT_CEILING_BYTES) -> Package:
    """Read a package's header and cut its payload into streams; decode nothing.

    Args:
        data: the whole package.
        ceiling_bytes: refuse an original file larger than this.

    Raises:
        PackageError: the package is truncated, altered, hostile, or of a version that this
            reader lacks.
    """
    view = memoryview(data)
    cursor = Cursor(view, "package")
    header = _read_preamble(cursor, view)
    header_bytes = cursor.at
    return _parse(
        Cursor(memoryview(header), "header"), view[header_bytes:], header_bytes, ceiling_bytes
    )


def _read_preamble(cursor: Cursor, view: memoryview) -> bytes:
    """Check everything in front of the payload and give the header, inflated."""
    magic = bytes(cursor.take(min(len(MAGIC), cursor.left())))
    if magic != MAGIC:
        raise damaged("this is no .ewp package", expected=repr(MAGIC), found=repr(magic))
    version, flags = cursor.byte(), cursor.byte()
    if version != VERSION:
        raise PackageError(
            "the package is of a version that this reader lacks",
            expected=f"version {VERSION}",
            found=f"version {version}",
            remedy=NEWER_REMEDY,
        )
    if flags & ~KNOWN_FLAGS:
        raise PackageError(
            "the package needs something that this reader lacks",
            expected=f"no flags but {KNOWN_FLAGS:#04x}",
            found=f"{flags:#04x}",
            remedy=NEWER_REMEDY,
        )
    stored_bytes, header_bytes = cursor.varint(), cursor.varint()
    if max(stored_bytes, header_bytes) > MAX_HEADER_BYTES:
        raise damaged(
            "the header is too large",
            expected=f"at most {MAX_HEADER_BYTES} bytes",
            found=f"{max(stored_bytes, header_bytes)}",
        )
    stored = cursor.take(stored_bytes)
    check_crc(view[: cursor.at], cursor.take(4), "header")
    if flags & FLAG_DEFLATED_HEADER:
        return inflate(stored, header_bytes, "header")
    if stored_bytes != header_bytes:
        raise wrong_size("header", header_bytes, stored_bytes)
    return bytes(stored)


def _parse(cursor: Cursor, payload: memoryview, header_bytes: int, ceiling_bytes: int) -> Package:
    name = _read_name(cursor)
    format_code = cursor.byte()
    if format_code >= len(FORMATS):
        raise damaged(
            "the original's format is unknown",
            expected=f"a code below {len(FORMATS)}",
            found=f"{format_code}",
        )
    size_bytes = cursor.varint()
    if size_bytes > ceiling_bytes:
        raise PackageError(
            "the original file is larger than this reader may make",
            expected=f"at most {ceiling_bytes} bytes",
            found=f"{size_bytes}",
            remedy="raise the ceiling if you trust the package's source",
        )
    sha256 = bytes(cursor.take(32))
    check_crc(payload, cursor.take(4), "payload")
    bare = _read_groups(cursor, Cursor(payload, "payload"))
    spans = _read_spans(cursor, bare, size_bytes)
    sections = _read_sections(cursor)
    if cursor.left():
        raise damaged("the header holds more than it declares", found=f"{cursor.left()} bytes more")
    return Package(
        version=VERSION,
        name=name,
        format=FORMATS[format_code],
        size_bytes=size_bytes,
        sha256=sha256,
        groups=_with_spans(bare, spans, size_bytes),
        spans=spans,
        sections=sections,
        header_bytes=header_bytes,
        package_bytes=header_bytes + len(payload),
    )


def name_fault(name: str) -> str | None:
    """Why `name` cannot be the original's name in a package; None if it can.

    A plain, visible file name on every system: the reader creates a file of this name.
    """
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
        return f"it must be 1 to {MAX_NAME_BYTES} bytes long"
    if name.startswith("."):
        return "it starts with a dot"
    bad = sorted({char for char in name if char in '/\\:*?"<>|' or not char.isprintable()})
    return f"it contains {''.join(bad)!r}" if bad else None


def _read_name(cursor: Cursor) -> str:
    raw = bytes(cursor.take(cursor.varint()))
    try:
        name = raw.decode("utf-8")
        fault = name_fault(name)
    except UnicodeDecodeError:
        fault = "it is no UTF-8"
    if fault is not None:
        raise damaged(
            "the original's name is refused",
            expected="a plain file name",
            found=f"{raw!r}: {fault}",
        )
    return name


def _read_groups(cursor: Cursor, payload: Cursor) -> list[Group]:
    """The groups without their spans; every byte of the payload goes to one stream."""
    groups = [_read_group(cursor, payload) for _ in range(_count(cursor, 1 + 2))]
    if not groups:
        raise damaged("the package has no skeleton group", expected="at least one group")
    if payload.left():
        raise damaged(
            "the payload is longer than its streams", found=f"{payload.left()} bytes more"
        )
    return groups


def _read_group(cursor: Cursor, payload: Cursor) -> Group:
    item_bytes, method = cursor.byte(), cursor.byte()
    if item_bytes not in ITEM_BYTES:
        raise damaged(
            "a group's items have an impossible size",
            expected=f"one of {ITEM_BYTES} bytes",
            found=f"{item_bytes}",
        )
    streams = []
    for _ in range(_count(cursor, 3)):
        coder, size_bytes, stored_bytes = cursor.byte(), cursor.varint(), cursor.varint()
        streams.append(Stream(coder, size_bytes, payload.take(stored_bytes)))
    return Group(item_bytes, method, tuple(streams), (), 0)


def _count(cursor: Cursor, least_bytes: int) -> int:
    """A number of things of which each takes `least_bytes` of the header, so it cannot lie."""
    count = cursor.varint()
    if count * least_bytes > cursor.left():
        raise damaged(
            "the header declares more than it can hold",
            expected=f"at most {cursor.left() // least_bytes} entries",
            found=f"{count}",
        )
    return count


def _read_spans(cursor: Cursor, groups: list[Group], size_bytes: int) -> tuple[Span, ...]:
    """The span table: one column after another, because equal things side by side deflate well."""
    count = _count(cursor, 5)
    owners = [cursor.varint() for _ in range(count)]
    for owner in owners:
        if not 0 < owner < len(groups):
            raise damaged(
                "a span belongs to no group",
                expected=f"a group from 1 to {len(groups) - 1}",
                found=f"{owner}",
            )
    gaps = [cursor.varint() for _ in range(count)]
    ranks = [cursor.byte() for _ in range(count)]
    orders = [_order(cursor.varint(), rank) for rank in ranks]
    shapes = [tuple(cursor.varint() for _ in range(rank)) for rank in ranks]
    spans = []
    end = 0
    for owner, gap, order, shape in zip(owners, gaps, orders, shapes):
        span_bytes = math.prod(shape) * groups[owner].item_bytes
        if not span_bytes or end + gap + span_bytes > size_bytes:
            raise damaged(
                "a span is empty or lies outside the original file",
                expected=f"bytes within {end}..{size_bytes}",
                found=f"shape {shape} at {end + gap}",
            )
        spans.append(Span(end + gap, span_bytes, shape, order, owner))
        end += gap + span_bytes
    return tuple(spans)


def _order(number: int, rank: int) -> tuple[int, ...]:
    """The permutation of `rank` axes at this place of their lexicographic list (0: as stored)."""
    if not 0 < rank <= MAX_RANK or number >= math.factorial(rank):
        raise damaged(
            "a span has an impossible axis order",
            expected=f"1 to {MAX_RANK} axes and one of their permutations",
            found=f"number {number} of {rank} axes",
        )
    axes = list(range(rank))
    order = []
    for place in range(rank - 1, -1, -1):
        index, number = divmod(number, math.factorial(place))
        order.append(axes.pop(index))
    return tuple(order)


def _read_sections(cursor: Cursor) -> tuple[Section, ...]:
    sections = []
    for _ in range(_count(cursor, 2)):
        tag = cursor.varint()
        content = bytes(cursor.take(cursor.varint()))
        if tag % 2:
            raise PackageError(
                "the package needs something that this reader lacks",
                expected="no optional section that must be understood",
                found=f"section {tag}",
                remedy=NEWER_REMEDY,
            )
        sections.append(Section(tag, content))
    return tuple(sections)


def _with_spans(bare: list[Group], spans: tuple[Span, ...], size_bytes: int) -> tuple[Group, ...]:
    owned: list[list[Span]] = [[] for _ in bare]
    for span in spans:
        owned[span.group].append(span)
    groups = []
    for index, (group, mine) in enumerate(zip(bare, owned)):
        total = sum(span.size_bytes for span in mine)
        if index == 0:
            total = size_bytes - sum(span.size_bytes for span in spans)
        groups.append(Group(group.item_bytes, group.method, group.streams, tuple(mine), total))
    return tuple(groups)
