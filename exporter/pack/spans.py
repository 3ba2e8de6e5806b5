"""Finds the weights, biases and scales inside a model file: byte offsets, shapes, axis orders.

Only the packer knows file formats; a reader splices bytes. So a wrong span can cost compression,
but never correctness, and a file that no parser here understands has no spans and still packs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from runtimes.container import MAX_RANK

Kind = Literal["skeleton", "weights", "biases", "floats"]
Format = Literal["other", "tflite", "onnx", "ort"]

MIN_SPAN_BYTES: Final = 16  # what a span costs in the header is more than it can win below this

# What parsers raise on bytes that only look like their format.
PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    AttributeError,
    struct.error,
)


@dataclass(frozen=True)
class Located:
    """A run of array items in a file.

    Attributes:
        offset: of the first byte, from the start of the file.
        shape: the array's axes as the file stores them.
        order: the permutation that brings output channels in front, [out, in, kh, kw]; weights of
            one channel resemble each other, and so do those of one kernel.
        item_bytes: size of an item.
        kind: what packs together.
    """

    offset: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    item_bytes: int
    kind: Kind

    @property
    def size_bytes(self) -> int:
        """Length of the run in the file."""
        return math.prod(self.shape) * self.item_bytes


def format_of(data: bytes, name: str) -> Format:
    """The format of a model file, by its identifier, or for ONNX (which has none) by its name."""
    if data[4:8] == b"TFL3":
        return "tflite"
    if data[4:8] == b"ORTM":
        return "ort"
    return "onnx" if name.lower().endswith(".onnx") else "other"


@dataclass(frozen=True)
class Found:
    """The spans of a file in ascending order, none overlapping; `note` says why there are none."""

    spans: tuple[Located, ...]
    note: str = ""


def find_spans(data: bytes, file_format: Format) -> Found:
    """Find the spans of a file. One that does not parse, or has no parser, has none."""
    finder = _finders().get(file_format)
    if finder is None:
        return Found((), "no known model format: packed as plain bytes")
    try:
        found = list(finder(data))
    except PARSE_ERRORS as error:
        return Found((), f"no readable {file_format} file, packed as plain bytes: {error}")
    return Found(_tidy(found, len(data)))


def channels_first(axis: int, rank: int) -> tuple[int, ...]:
    """The order that puts one axis in front of the others."""
    return (axis, *(other for other in range(rank) if other != axis))


def _finders() -> dict[str, Callable[[bytes], Iterable[Located]]]:
    from exporter.pack.spans_onnx import onnx_spans
    from exporter.pack.spans_ort import ort_spans
    from exporter.pack.spans_tflite import tflite_spans

    return {"tflite": tflite_spans, "onnx": onnx_spans, "ort": ort_spans}


def _tidy(found: Iterable[Located], file_bytes: int) -> tuple[Located, ...]:
    """Drop what is too small, shared with another span, or beyond the file."""
    kept: list[Located] = []
    end = 0
    for span in sorted(found, key=lambda span: (span.offset, -span.size_bytes)):
        fits = end <= span.offset and span.offset + span.size_bytes <= file_bytes
        if fits and span.size_bytes >= MIN_SPAN_BYTES and 0 < len(span.shape) <= MAX_RANK:
            kept.append(span)
            end = span.offset + span.size_bytes
    return tuple(kept)
