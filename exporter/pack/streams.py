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

from runtimes import coders

# Above this many bytes, settings are chosen on two samples of half this size each.
SAMPLE_BYTES: Final = 1 << 18
# Settings that come this close to the best on the samples are tried on the whole.
NEAR_BEST: Final = 1.01

_DEFLATE: Final = (
    (9, zlib.Z_HUFFMAN_ONLY, 9),
    (9, zlib.Z_HUFFMAN_ONLY, 8),
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


Setting = Callable[[bytes], bytes]


def squeeze(data: bytes, *, brotli: bool = False, quick: bool = False) -> Coded:
    """The smallest coding of `data`.

    Args:
        data: what to code.
        brotli: allow brotli, which a device may lack.
        quick: only estimate, with the settings that take a tenth of the time.
    """
    raw = Coded(coders.CODER_RAW, len(data), data)
    if quick:
        settings = [
            (coders.CODER_DEFLATE, _deflate(*_DEFLATE[0])),
            (coders.CODER_LZMA, _lzma(0, 0, 0, preset=1)),
        ]
    else:
        settings = _promising(data, list(_settings(brotli)))
    coded = [Coded(number, len(data), setting(data)) for number, setting in settings]
    return min([raw, *coded], key=lambda one: len(one.stored))


def _settings(brotli: bool) -> Iterator[tuple[int, Setting]]:
    for level, strategy, memory in _DEFLATE:
        yield coders.CODER_DEFLATE, _deflate(level, strategy, memory)
    for lc, lp, pb in _LZMA:
        yield coders.CODER_LZMA, _lzma(lc, lp, pb)
    if brotli:
        yield coders.CODER_BROTLI, _brotli


def _promising(data: bytes, settings: list[tuple[int, Setting]]) -> list[tuple[int, Setting]]:
    """The settings worth trying on all of a large stream: two at the most."""
    if len(data) <= SAMPLE_BYTES:
        return settings
    third, half = len(data) // 3, SAMPLE_BYTES // 2
    sample = data[third : third + half] + data[2 * third : 2 * third + half]
    sizes = [len(setting(sample)) for _, setting in settings]
    best = sorted(range(len(settings)), key=sizes.__getitem__)[:2]
    return [settings[one] for one in best if sizes[one] <= NEAR_BEST * sizes[best[0]]]


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
