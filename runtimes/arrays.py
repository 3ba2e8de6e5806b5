"""Where numpy's methods meet the restored file: their register, and spans as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Final

import numpy as np

from runtimes.container import Span
from runtimes.decode import Job, MethodFunction, skeleton_pieces

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

METHODS: Final[dict[int, MethodFunction]] = {}


def method(number: int) -> Callable[[MethodFunction], MethodFunction]:
    """Register a group method under its number in the format."""

    def register(function: MethodFunction) -> MethodFunction:
        if number in METHODS:
            raise ValueError(f"method {number} is registered already")
        METHODS[number] = function
        return function

    return register


def put(job: Job, content: Bytes) -> None:
    """Put a group's bytes where they belong in the original file."""
    job.of_size(content.size)
    Filler(job).put(content)


class Filler:
    """A group's places in the original file, filled from the front as its bytes become known.

    A place of which one piece holds a part only is gathered first.
    """

    def __init__(self, job: Job) -> None:
        self._places = _skeleton(job) if job.group is job.package.groups[0] else _spans(job)
        self._place = self._line = np.empty(0, np.uint8)
        self._at = 0

    def put(self, content: Bytes) -> None:
        """The next bytes, no more in all than the group has."""
        begin, size = 0, content.size
        while begin < size:
            if self._at == self._line.size:
                self._place, self._at = next(self._places), 0
                length = self._place.size
                if begin + length <= size:  # as nearly all are
                    self._place[...] = content[begin : begin + length].reshape(self._place.shape)
                    begin += length
                    self._line = self._line[:0]
                    continue
                plain = self._place.flags.c_contiguous
                self._line = self._place.reshape(-1) if plain else np.empty(length, np.uint8)
            part = content[begin : begin + self._line.size - self._at]
            self._line[self._at : self._at + part.size] = part
            self._at += part.size
            begin += part.size
            if self._at == self._line.size:
                self._place[...] = self._line.reshape(self._place.shape)


def _skeleton(job: Job) -> Iterator[Bytes]:
    file = np.frombuffer(job.restored, np.uint8)
    for begin, end in skeleton_pieces(job.package.spans, job.package.size_bytes):
        yield file[begin:end]


def _spans(job: Job) -> Iterator[Bytes]:
    file = np.frombuffer(job.restored, np.uint8)
    for span in job.group.spans:
        yield turned(file, span, job.group.item_bytes, span.offset)


def in_coded_order(job: Job, span: Span) -> Bytes:
    """A span's place in the restored file as an array of bytes, its axes as they were coded.

    The last axis is the bytes of an item.
    """
    return turned(np.frombuffer(job.restored, np.uint8), span, job.group.item_bytes, span.offset)


def turned(data: Bytes, span: Span, item_bytes: int, offset: int) -> Bytes:
    """A span's bytes at some offset of a file as an array with its axes as they were coded."""
    stored = data[offset : offset + span.size_bytes].reshape(*span.shape, item_bytes)
    return stored.transpose((*span.order, len(span.shape)))
