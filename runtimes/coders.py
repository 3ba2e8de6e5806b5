"""The coders of a package's streams: each turns stored bytes into a declared number of bytes.

One small function each, registered under its number in the format, which yields the content in
pieces. None holds more memory than a piece, or the declared size where it decodes all at once, and
LZMA's dictionary (no larger than that, or 4 KiB).
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, Final, Union

from runtimes.errors import PackageError
from runtimes.untrusted import PIECE_BYTES, STEP_BYTES, damaged, inflated, wrong_size

CODER_RAW: Final = 0
CODER_DEFLATE: Final = 1
CODER_LZMA: Final = 2
CODER_BROTLI: Final = 3
CODER_HUFFMAN: Final = 4
CODER_RANS: Final = 5
CODER_ZEROS: Final = 6

MIN_DICTIONARY_BYTES: Final = 1 << 12
MAX_DICTIONARY_BYTES: Final = 1 << 24
BROTLI_SMALL_STEP_BYTES: Final = 16  # where it cannot be limited; a copy of 16 MiB takes about that

Content = Union[bytes, bytearray, memoryview]
CoderFunction = Callable[[memoryview, int], Iterator[Content]]


@dataclass(frozen=True)
class Coder:
    """A stream coder under the name that summaries show; `function` yields what it decodes."""

    name: str
    function: CoderFunction

    def pieces(self, stored: memoryview, size_bytes: int) -> Iterator[Content]:
        """The content in pieces, `size_bytes` in all.

        Raises:
            PackageError: the stream is damaged or is not of that size.
        """
        found = 0
        for piece in self.function(stored, size_bytes):
            found += len(piece)
            if found > size_bytes:
                break
            yield piece
        if found != size_bytes:
            raise wrong_size("stream", size_bytes, found)

    def decode(self, stored: memoryview, size_bytes: int) -> Content:
        """The content at once; raises as `pieces` does."""
        pieces = self.pieces(stored, size_bytes)
        content = next(pieces, b"")
        if len(content) < size_bytes:
            first, content = content, bytearray(size_bytes)
            content[: len(first)] = first
            at = len(first)
            for piece in pieces:
                content[at : at + len(piece)] = piece
                at += len(piece)
        for _ in pieces:  # what comes behind the last byte is checked too
            pass
        return content


CODERS: Final[dict[int, Coder]] = {}


def coder(number: int, name: str) -> Callable[[CoderFunction], CoderFunction]:
    """Register a stream coder under its number in the format."""

    def register(function: CoderFunction) -> CoderFunction:
        if number in CODERS:
            raise ValueError(f"coder {number} is registered already, as {CODERS[number].name}")
        CODERS[number] = Coder(name, function)
        return function

    return register


def dictionary_bytes(size_bytes: int) -> int:
    """The LZMA dictionary for a stream that decodes to `size_bytes`; part of the format."""
    return min(max(size_bytes, MIN_DICTIONARY_BYTES), MAX_DICTIONARY_BYTES)


@coder(CODER_RAW, "raw")
def _raw(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    yield stored


@coder(CODER_DEFLATE, "deflate")
def _deflate(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    return inflated(stored, "stream")


@coder(CODER_LZMA, "lzma")
def _lzma(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    # LZMA2 carries lc, lp and pb in its chunks; the dictionary follows from the declared size, so
    # that no package can ask for more of it.
    lzma2 = {"id": lzma.FILTER_LZMA2, "dict_size": dictionary_bytes(size_bytes)}
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma2])
    at = 0
    try:
        while not decoder.eof and (at < len(stored) or not decoder.needs_input):
            fresh = stored[at : at + STEP_BYTES] if decoder.needs_input else b""
            at += len(fresh)
            yield decoder.decompress(fresh, PIECE_BYTES)
    except lzma.LZMAError as error:
        raise damaged("a stream is no LZMA2", found=str(error)) from None
    if not decoder.eof or decoder.unused_data or at < len(stored):
        raise damaged("a stream of LZMA2 does not end where it should")


@coder(CODER_BROTLI, "brotli")
def _brotli(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    try:
        import brotli
    except ImportError:
        raise PackageError(
            "this package was packed for devices that have brotli",
            expected="the Python package brotli",
            found="it is not installed",
            remedy="install it (pip install brotli, or apt install python3-brotli), or pack the"
            " file again without brotli",
        ) from None
    decoder = brotli.Decompressor()
    limited = hasattr(decoder, "can_accept_more_data")
    step_bytes = STEP_BYTES if limited else BROTLI_SMALL_STEP_BYTES
    try:
        for at in range(0, len(stored), step_bytes):
            fresh = bytes(stored[at : at + step_bytes])
            if limited:
                yield from _limited_pieces(decoder, fresh)
            else:  # of old releases, where only the steps' shortness is a limit
                yield decoder.process(fresh)
    except brotli.error as error:
        raise damaged("a stream is no brotli", found=str(error)) from None
    if not decoder.is_finished():
        raise damaged("a stream of brotli does not end where it should")


def _limited_pieces(decoder: Any, fresh: bytes) -> Iterator[Content]:
    """What some more stored bytes decode to; a piece is of about `PIECE_BYTES` at most."""
    piece = decoder.process(fresh, output_buffer_limit=PIECE_BYTES)
    yield piece
    while len(piece) >= PIECE_BYTES or (piece and not decoder.can_accept_more_data()):
        piece = decoder.process(b"", output_buffer_limit=PIECE_BYTES)
        yield piece


@coder(CODER_HUFFMAN, "Huffman")
def _huffman(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    try:
        from runtimes.huffman import decode_stream
    except ImportError as error:
        raise _without_numpy(error) from None
    yield decode_stream(stored, size_bytes)


@coder(CODER_RANS, "rANS")
def _rans(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    try:
        from runtimes.rans import decode_stream
    except ImportError as error:
        raise _without_numpy(error) from None
    return decode_stream(stored, size_bytes)


@coder(CODER_ZEROS, "zeros")
def _zeros(stored: memoryview, size_bytes: int) -> Iterator[Content]:
    if len(stored):
        raise damaged("a stream of zeros alone stores something", found=f"{len(stored)} bytes")
    for at in range(0, size_bytes, PIECE_BYTES):
        yield bytes(min(PIECE_BYTES, size_bytes - at))


def _without_numpy(error: ImportError) -> PackageError:
    return PackageError(
        "this package needs numpy",
        expected="the Python package numpy",
        found=str(error),
        remedy="install it (pip install numpy, or apt install python3-numpy), or pack the file"
        " again with --portable",
    )
