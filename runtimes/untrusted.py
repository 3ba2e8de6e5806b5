"""Bytes that nobody vouches for: read, inflated and checked so that they cannot do harm.

Whatever does not fit is a `PackageError` that says what was expected and what was found.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from runtimes.errors import PackageError

DAMAGED_REMEDY: Final = "fetch the package again, or pack the original file again"
NEWER_REMEDY: Final = "update edgewright on this machine, or pack with the version that it has"

STEP_BYTES: Final = 1 << 16  # of stored bytes that a decoder gets at a time
PIECE_BYTES: Final = 1 << 18  # of content that it gives at a time


def damaged(problem: str, *, expected: str = "", found: str = "") -> PackageError:
    """The error for a package that is truncated, altered or hostile."""
    return PackageError(problem, expected=expected, found=found, remedy=DAMAGED_REMEDY)


def wrong_size(what: str, declared: int, found: int) -> PackageError:
    """The error for a stream that does not decode to its declared size."""
    return damaged(
        f"the {what} does not decode to its declared size",
        expected=f"exactly {declared} bytes and the stream's end",
        found=f"{found} bytes" if found <= declared else "more",
    )


def newer(kind: str, number: int, known: str) -> PackageError:
    """The error for a package that uses what this reader does not have yet."""
    return PackageError(
        f"the package uses a {kind} that this reader lacks",
        expected=known,
        found=f"{kind} {number}",
        remedy=NEWER_REMEDY,
    )


class Cursor:
    """Reads forward through bytes and never past their end."""

    def __init__(self, data: memoryview, what: str) -> None:
        self._data = data
        self._what = what
        self.at = 0

    def left(self) -> int:
        """Bytes that are still to be read."""
        return len(self._data) - self.at

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if count > self.left():
            raise damaged(
                f"the {self._what} ends too early",
                expected=f"{count} more bytes",
                found=f"{self.left()}",
            )
        self.at += count
        return self._data[self.at - count : self.at]

    def byte(self) -> int:
        """The next byte."""
        at = self.at
        if at >= len(self._data):
            self.take(1)  # which says what is wrong
        self.at = at + 1
        return self._data[at]

    def varint(self) -> int:
        """An unsigned LEB128 number below 2**63, in as few bytes as it can have."""
        value = self.byte()
        if value < 0x80:  # as most are
            return value
        value &= 0x7F
        for shift in range(7, 63, 7):
            part = self.byte()
            value |= (part & 0x7F) << shift
            if part < 0x80:
                if part == 0:
                    raise damaged(f"the {self._what} has an overlong number")
                return value
        raise damaged(f"the {self._what} has an overlong number", expected="at most 9 bytes")

    def varints(self, count: int) -> list[int]:
        """The next `count` numbers; those of one byte each are read at once."""
        at = self.at
        numbers = list(self._data[at : at + count])
        if len(numbers) == count and max(numbers, default=0) < 0x80:
            self.at = at + count
            return numbers
        return [self.varint() for _ in range(count)]


def inflated(stored: memoryview, what: str) -> Iterator[bytes]:
    """Raw deflate in pieces of at most `PIECE_BYTES`.

    Raises:
        PackageError: the stream is damaged, or more or less than one stream.
    """
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    at = 0
    try:
        while at < len(stored) and not decoder.eof:
            fresh: bytes | memoryview = stored[at : at + STEP_BYTES]
            at += len(fresh)
            piece = b""
            while fresh or len(piece) == PIECE_BYTES:
                piece = decoder.decompress(fresh, PIECE_BYTES)
                fresh = decoder.unconsumed_tail
                yield piece
    except zlib.error as error:
        raise damaged(f"the {what} does not inflate", found=str(error)) from None
    if not decoder.eof or decoder.unused_data or at < len(stored):
        raise damaged(f"the {what} does not end where it should")


def inflate(stored: memoryview, size_bytes: int, what: str) -> bytes:
    """Raw deflate to exactly `size_bytes`; never holds much more than that.

    Raises:
        PackageError: the stream is damaged, or is not of the declared size.
    """
    content = bytearray()
    for piece in inflated(stored, what):
        content += piece
        if len(content) > size_bytes:
            break
    if len(content) != size_bytes:
        raise wrong_size(what, size_bytes, len(content))
    return bytes(content)


def check_crc(content: memoryview, declared: memoryview, what: str) -> None:
    """Compare the CRC-32 of some content with the one that is declared, four bytes.

    Raises:
        PackageError: they differ.
    """
    expected, found = int.from_bytes(declared, "little"), zlib.crc32(content)
    if expected != found:
        raise damaged(
            f"the {what} is altered",
            expected=f"CRC-32 {expected:08x}",
            found=f"{found:08x}",
        )
