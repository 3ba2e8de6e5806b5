"""The coders of a package's streams: each turns stored bytes into a declared number of bytes.

One small function each, registered under its number in the format. None holds more memory than the
declared size, LZMA's dictionary (no larger than that, or 4 KiB) and a small buffer.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from typing import Any, Callable, Final

from runtimes.errors import PackageError
from runtimes.untrusted import damaged, inflate, wrong_size

CODER_RAW: Final = 0
CODER_DEFLATE: Final = 1
CODER_LZMA: Final = 2
CODER_BROTLI: Final = 3
CODER_HUFFMAN: Final = 4
CODER_RANS: Final = 5

MIN_DICTIONARY_BYTES: Final = 1 << 12
MAX_DICTIONARY_BYTES: Final = 1 << 24
BROTLI_STEP_BYTES: Final = 1 << 16  # of stored bytes, where brotli can limit what they give
BROTLI_SMALL_STEP_BYTES: Final = 16  # where it cannot; a copy of 16 MiB takes about that many

CoderFunction = Callable[[memoryview, int], bytes]


@dataclass(frozen=True)
class Coder:
    """A stream coder under the name that summaries show."""

    name: str
    decode: CoderFunction


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
def _raw(stored: memoryview, size_bytes: int) -> bytes:
    if len(stored) != size_bytes:
        raise wrong_size("stream", size_bytes, len(stored))
    return bytes(stored)


@coder(CODER_DEFLATE, "deflate")
def _deflate(stored: memoryview, size_bytes: int) -> bytes:
    return inflate(stored, size_bytes, "stream")


@coder(CODER_LZMA, "lzma")
def _lzma(stored: memoryview, size_bytes: int) -> bytes:
    # LZMA2 carries lc, lp and pb in its chunks; the dictionary follows from the declared size, so
    # that no package can ask for more of it.
    lzma2 = {"id": lzma.FILTER_LZMA2, "dict_size": dictionary_bytes(size_bytes)}
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma2])
    try:
        content = decoder.decompress(bytes(stored), size_bytes + 1)
    except lzma.LZMAError as error:
        raise damaged("a stream is no LZMA2", found=str(error)) from None
    if len(content) != size_bytes or not decoder.eof or decoder.unused_data:
        raise wrong_size("stream", size_bytes, len(content))
    return content


@coder(CODER_BROTLI, "brotli")
def _brotli(stored: memoryview, size_bytes: int) -> bytes:
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
    content = bytearray()
    limited = hasattr(decoder, "can_accept_more_data")
    step_bytes = BROTLI_STEP_BYTES if limited else BROTLI_SMALL_STEP_BYTES
    step = _limited_step if limited else _brotli_step
    try:
        for at in range(0, len(stored), step_bytes):
            step(decoder, stored[at : at + step_bytes], content, size_bytes)
            if len(content) > size_bytes:
                break
    except brotli.error as error:
        raise damaged("a stream is no brotli", found=str(error)) from None
    if len(content) != size_bytes or not decoder.is_finished():
        raise wrong_size("stream", size_bytes, len(content))
    return bytes(content)


def _limited_step(decoder: Any, stored: memoryview, content: bytearray, size_bytes: int) -> None:
    """Append what some stored bytes decode to, up to one byte more than `size_bytes` in all."""
    piece = decoder.process(bytes(stored), output_buffer_limit=size_bytes + 1 - len(content))
    content += piece
    while piece and len(content) <= size_bytes and not decoder.can_accept_more_data():
        piece = decoder.process(b"", output_buffer_limit=size_bytes + 1 - len(content))
        content += piece


def _brotli_step(decoder: Any, stored: memoryview, content: bytearray, size_bytes: int) -> None:
    """The same for old releases of brotli, where only the steps' shortness is a limit."""
    content += decoder.process(bytes(stored))


@coder(CODER_HUFFMAN, "Huffman")
def _huffman(stored: memoryview, size_bytes: int) -> bytes:
    try:
        from runtimes.huffman import decode_stream
    except ImportError as error:
        raise _without_numpy(error) from None
    return decode_stream(stored, size_bytes)


@coder(CODER_RANS, "rANS")
def _rans(stored: memoryview, size_bytes: int) -> bytes:
    try:
        from runtimes.rans import decode_stream
    except ImportError as error:
        raise _without_numpy(error) from None
    return decode_stream(stored, size_bytes)


def _without_numpy(error: ImportError) -> PackageError:
    return PackageError(
        "this package needs numpy",
        expected="the Python package numpy",
        found=str(error),
        remedy="install it (pip install numpy, or apt install python3-numpy), or pack the file"
        " again with --portable",
    )
