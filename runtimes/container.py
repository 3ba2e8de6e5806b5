"""The .ewp package: its bytes read and checked, before anything in it is decoded.

FORMAT.md, beside this file, is the specification. The packer imports its numbers from here, so that
the two sides cannot differ. Nothing in this module trusts a package: every size is bounded before
memory is asked for, and whatever does not fit is a `PackageError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from runtimes.errors import PackageError
from runtimes.names import read_name
from runtimes.untrusted import NEWER_REMEDY, Cursor, check_crc, damaged, inflate, wrong_size

MAGIC: Final = b"\x89EWP"  # the high bit shows a transfer that strips it
VERSION: Final = 2
FLAG_DEFLATED_HEADER: Final = 1
FLAG_SIGNED: Final = 2
KNOWN_FLAGS: Final = FLAG_DEFLATED_HEADER | FLAG_SIGNED

FLAGS_AT: Final = 5  # the flags' place, behind magic and version
SIGNATURE_BYTES: Final = 1 + 8 + 64  # kind, key id, Ed25519 signature

FORMATS: Final = ("other", "tflite", "onnx", "ort")
CONTENTS: Final = ("other", "skeleton", "weights", "biases", "floats")  # of a group; for people

SECTION_BASE: Final = 1
SECTION_RELEASE: Final = 2

DEFAULT_CEILING_BYTES: Final = 1 << 30
MAX_HEADER_BYTES: Final = 4 << 20
MAX_RANK: Final = 8
MAX_GROUPS: Final = 4096  # every group costs a reader time, however small it is
ITEM_BYTES: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class Span:
    """A run of bytes of the original file that belongs to a group.

    The file holds an array of `shape` at `offset`; the coder saw it transposed to `order`. In a
    delta package, `base_offset` says where the base file holds the array that this one succeeds.
    """

    offset: int
    size_bytes: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    group: int
    base_offset: int | None = None

    @property
    def coded_shape(self) -> tuple[int, ...]:
        """The axes' lengths in the order in which they are coded."""
        return tuple(self.shape[axis] for axis in self.order)


@dataclass(frozen=True)
class Stream:
    """One coded run of bytes: `size_bytes` is its decoded length, as declared."""

    coder: int
    size_bytes: int
    stored: memoryview


@dataclass(frozen=True)
class Group:
    """Spans that are coded together. Group 0 is the skeleton: all that is in no span."""

    content: str
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
class Base:
    """The file that a delta package builds on."""

    sha256: bytes
    size_bytes: int


@dataclass(frozen=True)
class Package:
    """A package whose header and payload passed every check that needs no decoding.

    `size_bytes` and `sha256` are the original file's, `package_bytes` and `header_bytes` (all that
    is no payload) the package's own. `release` is None where the package names none. `signed` says
    that there is a signature, not that it is any good: see `runtimes.signature`.
    """

    version: int
    name: str
    format: str
    size_bytes: int
    sha256: bytes
    groups: tuple[Group, ...]
    spans: tuple[Span, ...]
    sections: tuple[Section, ...]
    base: Base | None
    release: int | None
    signed: bool
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
    signed = bool(view[FLAGS_AT] & FLAG_SIGNED)
    end = len(view) - SIGNATURE_BYTES if signed else len(view)
    if end < cursor.at:
        raise damaged(
            "the package's signature is cut off",
            expected=f"{SIGNATURE_BYTES} bytes",
            found=f"{len(view) - cursor.at}",
        )
    frame = _Frame(signed, len(view) - (end - cursor.at), len(view), ceiling_bytes)
    return _parse(Cursor(memoryview(header), "header"), view[cursor.at : end], frame)


@dataclass(frozen=True)
class _Frame:
    """What is known of a package from outside its header. Sizes in bytes."""

    signed: bool
    header_bytes: int
    package_bytes: int
    ceiling_bytes: int


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


def _parse(cursor: Cursor, payload: memoryview, frame: _Frame) -> Package:
    name = read_name(cursor)
    format_code = cursor.byte()
    if format_code >= len(FORMATS):
        raise damaged(
            "the original's format is unknown",
            expected=f"a code below {len(FORMATS)}",
            found=f"{format_code}",
        )
    size_bytes = cursor.varint()
    if size_bytes > frame.ceiling_bytes:
        raise PackageError(
            "the original file is larger than this reader may make",
            expected=f"at most {frame.ceiling_bytes} bytes",
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
    base, spans = _read_base(sections, spans)
    return Package(
        version=VERSION,
        name=name,
        format=FORMATS[format_code],
        size_bytes=size_bytes,
        sha256=sha256,
        groups=_with_spans(bare, spans, size_bytes),
        spans=spans,
        sections=tuple(sections.values()),
        base=base,
        release=_read_release(sections),
        signed=frame.signed,
        header_bytes=frame.header_bytes,
        package_bytes=frame.package_bytes,
    )


def _read_groups(cursor: Cursor, payload: Cursor) -> list[Group]:
    """The groups without their spans; every byte of the payload goes to one stream."""
    count = _count(cursor, 1 + 3)
    if count > MAX_GROUPS:
        raise damaged(
            "the package has too many groups", expected=f"at most {MAX_GROUPS}", found=f"{count}"
        )
    groups = [_read_group(cursor, payload) for _ in range(count)]
    if not groups:
        raise damaged("the package has no skeleton group", expected="at least one group")
    if payload.left():
        raise damaged(
            "the payload is longer than its streams", found=f"{payload.left()} bytes more"
        )
    return groups


def _read_group(cursor: Cursor, payload: Cursor) -> Group:
    content, item_bytes, method = cursor.byte(), cursor.byte(), cursor.byte()
    if content >= len(CONTENTS):
        raise damaged(
            "a group's content is unknown",
            expected=f"a code below {len(CONTENTS)}",
            found=f"{content}",
        )
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
    return Group(CONTENTS[content], item_bytes, method, tuple(streams), (), 0)


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
    owners = cursor.varints(count)
    for owner in owners:
        if not 0 < owner < len(groups):
            raise damaged(
                "a span belongs to no group",
                expected=f"a group from 1 to {len(groups) - 1}",
                found=f"{owner}",
            )
    gaps = cursor.varints(count)
    ranks = cursor.take(count)
    orders = list(map(_order, cursor.varints(count), ranks))
    shapes = [tuple(cursor.varints(rank)) for rank in ranks]
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


@lru_cache(maxsize=64)  # a package has few of them, each many times
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


def _read_sections(cursor: Cursor) -> dict[int, Section]:
    """The sections by their tags."""
    sections: dict[int, Section] = {}
    for _ in range(_count(cursor, 2)):
        tag = cursor.varint()
        content = bytes(cursor.take(cursor.varint()))
        if tag % 2 and tag != SECTION_BASE:
            raise PackageError(
                "the package needs something that this reader lacks",
                expected="no optional section that must be understood",
                found=f"section {tag}",
                remedy=NEWER_REMEDY,
            )
        if tag in sections:
            raise damaged("a section is there twice", found=f"section {tag}")
        sections[tag] = Section(tag, content)
    return sections


def _read_base(
    sections: dict[int, Section], spans: tuple[Span, ...]
) -> tuple[Base | None, tuple[Span, ...]]:
    """The base of a delta package, and the spans with their places in it."""
    if SECTION_BASE not in sections:
        return None, spans
    cursor = Cursor(memoryview(sections[SECTION_BASE].content), "base section")
    base = Base(bytes(cursor.take(32)), cursor.varint())
    placed = []
    for span in spans:
        offset = _base_offset(cursor.varint(), span.offset)
        if offset is not None and not 0 <= offset <= base.size_bytes - span.size_bytes:
            raise damaged(
                "a span's counterpart lies outside the base",
                expected=f"{span.size_bytes} bytes within {base.size_bytes}",
                found=f"{offset}",
            )
        placed.append(replace(span, base_offset=offset))
    if cursor.left():
        raise damaged("the base section is too long", found=f"{cursor.left()} bytes more")
    return base, tuple(placed)


def _base_offset(code: int, offset: int) -> int | None:
    """Where a span's counterpart is: 0 for none, else 1 + the zigzag of how far it moved."""
    if code == 0:
        return None
    moved = code - 1
    return offset + (moved >> 1 ^ -(moved & 1))


def _read_release(sections: dict[int, Section]) -> int | None:
    if SECTION_RELEASE not in sections:
        return None
    cursor = Cursor(memoryview(sections[SECTION_RELEASE].content), "release section")
    release = cursor.varint()
    if cursor.left():
        raise damaged("the release section is too long", found=f"{cursor.left()} bytes more")
    return release


def _with_spans(bare: list[Group], spans: tuple[Span, ...], size_bytes: int) -> tuple[Group, ...]:
    owned: list[list[Span]] = [[] for _ in bare]
    for span in spans:
        owned[span.group].append(span)
    groups = []
    for index, (group, mine) in enumerate(zip(bare, owned)):
        total = sum(span.size_bytes for span in mine)
        if index == 0:
            total = size_bytes - sum(span.size_bytes for span in spans)
        groups.append(replace(group, spans=tuple(mine), size_bytes=total))
    return tuple(groups)
