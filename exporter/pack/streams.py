"""Codes one run of bytes by every coder and keeps the smallest.

The mirror of `runtimes.coders`. Each function here gives the candidates of one coder;
a setting that the decoder need not know (zlib's strategy, LZMA's lc, lp and pb) is just another
candidate.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from exporter.pack import huffman, rans
from runtimes import coders

# Above this many bytes, settings are chosen on pieces that are as long together.
SAMPLE_BYTES: Final = 1 << 18
SAMPLE_PIECES: Final = 16
# Settings that come this close to the best on the samples are tried on the whole.
NEAR_BEST: Final = 1.01

STEPPED: Final = (coders.CODER_HUFFMAN, coders.CODER_RANS)
STEPS_PER_BYTE: Final = 8
MIN_STEPPED_BYTES: Final = 256

_DEFLATE: Final = (
    (9, zlib.Z_HUFFMAN_ONLY, 9),
    (9, zlib.Z_HUFFMAN_ONLY, 8),
    (9, zlib.Z_HUFFMAN_ONLY, 3),  # short blocks with codes of their own: the classes of rows
    (9, zlib.Z_DEFAULT_STRATEGY, 9),
    (9, zlib.Z_DEFAULT_STRATEGY, 8),
    (9, zlib.Z_FILTERED, 9),
    (9, zlib.Z_RLE, 9),
)
# (lc, lp, pb): entropy-coded bytes want no context at all, gaps a little of the byte before, 4-byte
# tables the position; the first is LZMA's own choice. Others never won by more than two bytes.
_LZMA: Final = ((3, 0, 2), (0, 0, 0), (1, 0, 0), (0, 0, 2), (0, 2, 2))


@dataclass(frozen=True)
class Coded:
    """One coded stream, as the package stores it. Sizes in bytes."""

    coder: int
    size_bytes: int
    stored: bytes


@dataclass(frozen=True)
class Device:
    """What the reader may use beside the standard library.

    numpy is what most devices have; brotli is a package that has to be installed. Where decoding
    must be `fast`, what takes a reader long is left out: class rANS, Huffman, rANS, LZMA.
    """

    numpy: bool = True
    brotli: bool = False
    fast: bool = False


ORDINARY: Final = Device()
PORTABLE: Final = Device(numpy=False)

Setting = Callable[[bytes], "bytes | None"]


def raw(data: bytes) -> Coded:
    """Bytes as they are."""
    return Coded(coders.CODER_RAW, len(data), data)


def estimated_bytes(data: bytes) -> float:
    """About what `squeeze` would take, by settings that take a tenth of the time."""
    sample = _sample(data)
    settings = (_deflate(*_DEFLATE[0]), _lzma(0, 0, 0, preset=1))
    best = min(len(sample), *(len(setting(sample) or sample) for setting in settings))
    return best * len(data) / max(1, len(sample))


def squeeze(data: bytes, device: Device = ORDINARY) -> Coded:
    """The smallest coding of `data`.

    Args:
        data: what to code.
        device: what the reader has.
    """
    if data and not any(data):
        return Coded(coders.CODER_ZEROS, len(data), b"")
    settings = _promising(data, list(_settings(device)))
    coded = [(number, setting(data)) for number, setting in settings]
    tries = [Coded(number, len(data), stored) for number, stored in coded if stored is not None]
    return min([raw(data), *tries], key=_cost)


def _cost(coded: Coded) -> float:
    """What a stream takes, in bytes, with a little for the time that a reader needs for it.

    numpy steps through rANS and Huffman streams at some 20 microseconds a step.
    """
    if coded.coder not in STEPPED:
        return len(coded.stored)
    steps = coded.size_bytes >> coded.stored[0]  # the stream begins with its lanes
    return len(coded.stored) + steps / STEPS_PER_BYTE


def _settings(device: Device) -> Iterator[tuple[int, Setting]]:
    for level, strategy, memory in _DEFLATE:
        yield coders.CODER_DEFLATE, _deflate(level, strategy, memory)
    if not device.fast:
        for lc, lp, pb in _LZMA:
            yield coders.CODER_LZMA, _lzma(lc, lp, pb)
    if device.numpy and not device.fast:
        yield coders.CODER_HUFFMAN, _stepped(huffman.encode_stream)
        yield coders.CODER_RANS, _stepped(rans.encode_stream)
    if device.brotli:
        yield coders.CODER_BROTLI, _brotli


def _promising(data: bytes, settings: list[tuple[int, Setting]]) -> list[tuple[int, Setting]]:
    """The settings worth trying on all of a large stream: two at the most."""
    sample = _sample(data)
    if len(sample) == len(data):
        return settings
    sizes = [len(setting(sample) or sample) for _, setting in settings]
    best = sorted(range(len(settings)), key=sizes.__getitem__)[:2]
    return [settings[one] for one in best if sizes[one] <= NEAR_BEST * sizes[best[0]]]


def _sample(data: bytes) -> bytes:
    """All of a small stream, or pieces from all over a large one."""
    if len(data) <= SAMPLE_BYTES:
        return data
    piece, apart = SAMPLE_BYTES // SAMPLE_PIECES, len(data) // SAMPLE_PIECES
    return b"".join(data[at * apart : at * apart + piece] for at in range(SAMPLE_PIECES))


def _stepped(encode: Setting) -> Setting:
    """A coder with tables of its own, which a short stream cannot pay for."""

    def code(data: bytes) -> bytes | None:
        return encode(data) if len(data) >= MIN_STEPPED_BYTES else None

    return code


def _deflate(level: int, strategy: int, memory: int) -> Setting:
    def code(data: bytes) -> bytes:
        coder = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, memory, strategy)
        return coder.compress(data) + coder.flush()

    return code


def _lzma(lc: int, lp: int, pb: int, preset: int = 9 | lzma.PRESET_EXTREME) -> Setting:
    def code(data: bytes) -> bytes:
        lzma2 = {
            "id": lzma.FILTER_LZMA2,
            "preset": preset,
            "dict_size": coders.dictionary_bytes(len(data)),
            "lc": lc,
            "lp": lp,
            "pb": pb,
        }
        return lzma.compress(data, format=lzma.FORMAT_RAW, filters=[lzma2])

    return code


def _brotli(data: bytes) -> bytes:
    import brotli

    return bytes(brotli.compress(data, quality=11, lgwin=24))
