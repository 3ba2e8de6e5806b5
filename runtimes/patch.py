"""The methods of delta packages: a group given the bytes of the file before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from runtimes import decode
from runtimes.arrays import in_coded_order, method, put, turned
from runtimes.classes import DELTA_BLOCK_ITEMS, MAX_PLAN_BYTES, Coded, Sequence, read_plan
from runtimes.container import Span
from runtimes.decode import Job, read_stream
from runtimes.methods import read_planes, unfolded
from runtimes.untrusted import Cursor, damaged, wrong_size

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int64]

# What a patch may need for each operation: three numbers.
MAX_OPERATION_BYTES: Final = 27


def _old(job: Job, span: Span) -> Bytes:
    """A span's counterpart in the base, as `in_coded_order` gives the span itself."""
    data = np.frombuffer(job.counterpart(span), np.uint8)
    return turned(data, span, job.group.item_bytes, 0)


@method(decode.METHOD_DIFFERENCE)
def _difference(job: Job) -> None:
    """Byte planes of how far each item moved, its sign in the lowest bit."""
    moved = unfolded(read_planes(job))
    if job.group is job.package.groups[0]:
        olds = _same_places(job)
    else:
        olds = [_old(job, span).reshape(-1) for span in job.group.spans]
    old = np.concatenate([np.zeros(0, np.uint8), *olds]).view(moved.dtype)
    if old.size != moved.size:
        raise wrong_size("difference", old.size, moved.size)
    put(job, (old + moved).view(np.uint8))


def _same_places(job: Job) -> list[Bytes]:
    """What the base has where the new file has its skeleton; the two are of one length."""
    base = np.frombuffer(job.base, np.uint8)
    if base.size != job.package.size_bytes:
        raise damaged(
            "a skeleton's difference needs a base of the same length",
            expected=f"{job.package.size_bytes} bytes",
            found=f"{base.size}",
        )
    pieces = decode.skeleton_pieces(job.package.spans, job.package.size_bytes)
    return [base[begin:end] for begin, end in pieces]


@method(decode.METHOD_MOVED)
def _moved(job: Job) -> None:
    """Bytes whose difference is of a class that follows from how far the old byte is from zero.

    Streams: the plan, and the four of `runtimes.classes.Coded`.
    """
    group = job.group
    if group.item_bytes != 1:
        raise damaged("a class rANS difference is of 1-byte items", found=f"{group.item_bytes}")
    streams = job.streams(5)
    cursor = Cursor(memoryview(read_stream(streams[0], at_most=MAX_PLAN_BYTES)), "delta plan")
    limits = np.frombuffer(cursor.take(cursor.byte()), np.uint8)
    if (np.diff(limits.astype(np.int64)) <= 0).any():
        raise damaged("a delta's classes do not ascend")
    center = cursor.byte()
    plan = read_plan(cursor)
    if cursor.left() or plan.kinds.size != limits.size + 1:
        raise damaged(
            "a delta plan does not fit its classes",
            expected=f"{limits.size + 1} classes",
            found=f"{plan.kinds.size}, and {cursor.left()} bytes more",
        )
    classes = class_of_old(limits, center)
    lengths = [
        np.bincount(classes[block], minlength=plan.kinds.size)
        for span in group.spans
        for block in _blocks(_old(job, span).reshape(-1))
    ]
    labels = np.tile(np.arange(plan.kinds.size, dtype=np.uint8), len(lengths))
    sequence = Sequence(
        plan,
        Coded.read(streams[1:], plan, group.size_bytes),
        labels,
        np.concatenate([np.zeros(0, np.int64), *lengths]),
    )
    moved = sequence.blocks([plan.kinds.size * (place + 1) for place in range(len(lengths))])
    for span in group.spans:
        array = in_coded_order(job, span)
        old = _old(job, span).reshape(-1)
        new = [block + _in_place(next(moved), classes[block]) for block in _blocks(old)]
        array[...] = np.concatenate(new).reshape(array.shape)
    if next(moved, None) is not None:
        raise damaged("a delta has more items than its spans")


def class_of_old(limits: Bytes, center: int) -> Bytes:
    """The class of each old byte: how many of the ascending limits its distance to zero reaches.

    Distances are of bytes in two's complement, less `center`: 0 to 128.
    """
    distance = np.abs((np.arange(256) - center).astype(np.uint8).view(np.int8).astype(np.int64))
    return np.searchsorted(limits, distance, "right").astype(np.uint8)


def _blocks(old: Bytes) -> Iterator[Bytes]:
    for at in range(0, old.size, DELTA_BLOCK_ITEMS):
        yield old[at : at + DELTA_BLOCK_ITEMS]


def _in_place(items: Bytes, classes: Bytes) -> Bytes:
    """Items that come class by class, in the order in which the classes lie."""
    placed = np.empty_like(items)
    placed[np.argsort(classes, kind="stable")] = items
    return placed


@method(decode.METHOD_PATCH)
def _patch(job: Job) -> None:
    """Pieces of the base, changed a little, and new bytes between them: after bsdiff (C. Percival).

    Streams: operations, differences, new bytes. An operation is three numbers: how far the place in
    the base moves on, how many bytes of it come with differences added, how many new bytes follow.
    """
    size_bytes = job.group.size_bytes
    operations, differences, fresh = job.streams(3)
    table = read_stream(operations, at_most=MAX_OPERATION_BYTES * (size_bytes + 1))
    added = np.frombuffer(read_stream(differences, at_most=size_bytes), np.uint8)
    new = np.frombuffer(read_stream(fresh, exactly=size_bytes - added.size), np.uint8)
    base = np.frombuffer(job.base, np.uint8)
    content = np.empty(size_bytes, np.uint8)
    cursor = Cursor(memoryview(table), "patch")
    at = used = place = 0
    while cursor.left():
        code, copied, inserted = cursor.varint(), cursor.varint(), cursor.varint()
        place += code >> 1 ^ -(code & 1)
        if not 0 <= place <= base.size - copied or at + copied + inserted > size_bytes:
            raise damaged(
                "a patch reaches beyond the base or the group",
                expected=f"bytes within {base.size} and {size_bytes}",
                found=f"{copied} at {place}, then {inserted}",
            )
        short = used + copied > added.size or at - used + inserted > new.size
        if short or copied + inserted == 0:
            raise damaged("a patch's operations do not fit its differences and new bytes")
        content[at : at + copied] = base[place : place + copied] + added[used : used + copied]
        at, used, place = at + copied, used + copied, place + copied
        begin = at - used
        content[at : at + inserted] = new[begin : begin + inserted]
        at += inserted
    job.of_size(at)
    put(job, content)
