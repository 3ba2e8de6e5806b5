"""Where numpy's methods meet the restored file: their register, and spans as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Final

import numpy as np

from runtimes import portable
from runtimes.container import Span
from runtimes.decode import Job, MethodFunction

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
    if job.group is job.package.groups[0]:
        portable.put(job, content.tobytes())
        return
    at = 0
    for span in job.group.spans:
        array = in_coded_order(job, span)
        array[...] = content[at : at + span.size_bytes].reshape(array.shape)
        at += span.size_bytes


def in_coded_order(job: Job, span: Span) -> Bytes:
    """A span's place in the restored file as an array of bytes, its axes as they were coded.

    The last axis is the bytes of an item.
    """
    return turned(np.frombuffer(job.restored, np.uint8), span, job.group.item_bytes, span.offset)


def turned(data: Bytes, span: Span, item_bytes: int, offset: int) -> Bytes:
    """A span's bytes at some offset of a file as an array with its axes as they were coded."""
    stored = data[offset : offset + span.size_bytes].reshape(*span.shape, item_bytes)
    return stored.transpose((*span.order, len(span.shape)))
