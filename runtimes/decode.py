"""Decodes a package that `container.read` accepted, into the bytes of the original file.

A *method* turns the streams of a group into the group's bytes, and puts those where they belong.
Each is a small function, registered under its number in the format: with numpy in
`runtimes.methods`, and where there is none the few that need none in `runtimes.portable`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Final

from runtimes.coders import CODERS, Coder, Content
from runtimes.container import Base, Group, Package, Span, Stream
from runtimes.errors import PackageError
from runtimes.untrusted import damaged, newer, wrong_size

METHOD_FLAT: Final = 0
METHOD_SPLIT: Final = 1
METHOD_PLANES: Final = 2
METHOD_ZIGZAG: Final = 3
METHOD_PRODUCT: Final = 4
METHOD_COPY: Final = 5
METHOD_CLASSES: Final = 6
METHOD_DIFFERENCE: Final = 7
METHOD_MOVED: Final = 8
METHOD_PATCH: Final = 9

METHOD_NAMES: Final = {
    METHOD_FLAT: "flat",
    METHOD_SPLIT: "gap/value",
    METHOD_PLANES: "byte planes",
    METHOD_ZIGZAG: "zigzag planes",
    METHOD_PRODUCT: "product",
    METHOD_COPY: "copy",
    METHOD_CLASSES: "class rANS",
    METHOD_DIFFERENCE: "difference",
    METHOD_MOVED: "class rANS difference",
    METHOD_PATCH: "patch",
}

GAP_ESCAPE: Final = 255  # this many zeros and no value


@dataclass(frozen=True)
class Job:
    """What a method may use.

    `restored` is the original file as far as it is known, `base` the file that a delta package
    builds on (empty for any other package).
    """

    package: Package
    group: Group
    restored: bytearray
    base: memoryview

    def streams(self, count: int) -> tuple[Stream, ...]:
        """The group's streams, of which there must be `count`."""
        if len(self.group.streams) != count:
            raise damaged(
                "a group has the wrong number of streams",
                expected=f"{count} for method {METHOD_NAMES[self.group.method]}",
                found=f"{len(self.group.streams)}",
            )
        return self.group.streams

    def of_size(self, found: int) -> None:
        """Refuse content that is not as long as the group.

        Raises:
            PackageError: it is not.
        """
        if found != self.group.size_bytes:
            raise wrong_size("group", self.group.size_bytes, found)

    def earlier_span(self, span: Span, number: int) -> Span:
        """The span that another one is made from: as long, and of a group restored before.

        Raises:
            PackageError: there is none of that number.
        """
        if number < len(self.package.spans):
            source = self.package.spans[number]
            if source.group < span.group and source.size_bytes == span.size_bytes:
                return source
        raise damaged(
            "a span names a source that it cannot use",
            expected=f"a span of an earlier group with {span.size_bytes} bytes",
            found=f"span {number}",
        )

    def counterpart(self, span: Span) -> memoryview:
        """The bytes of the base file that a span is the successor of.

        Raises:
            PackageError: the package names none.
        """
        if span.base_offset is None:
            raise damaged("a span of a delta has no counterpart", expected="a place in the base")
        return self.base[span.base_offset : span.base_offset + span.size_bytes]


MethodFunction = Callable[[Job], None]
"""Decodes a group and puts its bytes into `Job.restored`."""


def restore(package: Package, base: bytes | None = None) -> bytearray:
    """The original file's bytes, of which the SHA-256 matched.

    Args:
        package: what `container.read` gave.
        base: for a delta package, the file that it builds on.

    Raises:
        PackageError: a stream is damaged, uses something that this reader lacks, the base is
            missing or another file, or the result is not the original file.
    """
    old = checked_base(package.base, base)
    methods = _methods()
    try:
        content = bytearray(package.size_bytes)
        for group in package.groups:
            _method(methods, group.method)(Job(package, group, content, old))
    except MemoryError:
        raise PackageError(
            "the package needs more memory than is free",
            expected=f"about {5 * package.size_bytes // 2} bytes",
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


def checked_base(wanted: Base | None, base: bytes | None) -> memoryview:
    """The base of a delta package, once it is known to be the right one; else nothing.

    Raises:
        PackageError: a delta has no base, or another one than it was made for.
    """
    if wanted is None:
        return memoryview(b"")
    described = f"the file of {wanted.size_bytes} bytes with SHA-256 {wanted.sha256.hex()}"
    if base is None:
        raise PackageError(
            "the package is a delta, which needs the file that it builds on",
            expected=described,
            found="none",
            remedy="name it with --base, or fetch the full package",
        )
    digest = hashlib.sha256(base).digest()
    if digest != wanted.sha256 or len(base) != wanted.size_bytes:
        raise PackageError(
            "the package is a delta of another file",
            expected=described,
            found=f"one of {len(base)} bytes with SHA-256 {digest.hex()}",
            remedy="name the file that it builds on, or fetch the full package",
        )
    return memoryview(base)


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


def read_stream(
    stream: Stream, *, exactly: int | None = None, at_most: int | None = None
) -> Content:
    """Decode one stream, once its declared size is one that the method allows."""
    return _coder_of(stream, exactly, at_most).decode(stream.stored, stream.size_bytes)


def stream_pieces(stream: Stream, *, exactly: int) -> Iterator[Content]:
    """The same piece by piece, for what need not be in memory at once."""
    return _coder_of(stream, exactly, None).pieces(stream.stored, stream.size_bytes)


def _coder_of(stream: Stream, exactly: int | None, at_most: int | None) -> Coder:
    allowed = stream.size_bytes if exactly is None else exactly
    if stream.size_bytes != allowed or (at_most is not None and stream.size_bytes > at_most):
        raise damaged(
            "a stream declares a size that does not fit its group",
            expected=f"at most {at_most} bytes" if exactly is None else f"{exactly} bytes",
            found=f"{stream.size_bytes}",
        )
    if stream.coder not in CODERS:
        raise newer("coder", stream.coder, ", ".join(f"{n} {CODERS[n].name}" for n in CODERS))
    return CODERS[stream.coder]


def _methods() -> Mapping[int, MethodFunction]:
    try:
        from runtimes import matrices, methods, patch  # noqa: F401 - they register themselves
        from runtimes.arrays import METHODS
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "numpy":
            raise
        from runtimes.portable import METHODS as PORTABLE

        return PORTABLE
    return METHODS


def _method(methods: Mapping[int, MethodFunction], number: int) -> MethodFunction:
    if number not in METHOD_NAMES:
        raise newer("method", number, ", ".join(f"{n} {METHOD_NAMES[n]}" for n in METHOD_NAMES))
    if number not in methods:
        raise PackageError(
            f"this package needs numpy: it uses {METHOD_NAMES[number]}",
            expected="the Python package numpy",
            found="it is not installed",
            remedy="install it (pip install numpy, or apt install python3-numpy), or pack the file"
            " again with --portable",
        )
    return methods[number]
