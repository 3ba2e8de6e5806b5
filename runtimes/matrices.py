"""The groups of class rANS: matrices whose rows, and perhaps columns, have classes of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from runtimes import decode
from runtimes.arrays import in_coded_order, method
from runtimes.classes import MAX_PLAN_BYTES, Coded, Sequence, read_plan
from runtimes.container import Span
from runtimes.decode import Job, read_stream
from runtimes.untrusted import Cursor, damaged

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

MAX_COLUMN_CLASSES: Final = 8
BLOCK_ITEMS: Final = 1 << 16  # what is expanded at a time, which bounds the memory

# A run costs a reader as much as tens of items, so there must be 8 items for each, beyond some.
LEAST_RUNS_ITEMS: Final = 1 << 12


@method(decode.METHOD_CLASSES)
def _classes(job: Job) -> None:
    """Streams: the plan, the rows' and columns' classes, and the four of `Coded`."""
    group = job.group
    if group.item_bytes != 1 or not group.spans:
        raise damaged("class rANS is of 1-byte items", found=f"{group.item_bytes} bytes")
    streams = job.streams(6)
    plan_bytes = read_stream(streams[0], at_most=MAX_PLAN_BYTES)
    cursor = Cursor(memoryview(plan_bytes), "class rANS plan")
    columns = cursor.byte()
    if not 0 < columns <= MAX_COLUMN_CLASSES:
        raise damaged(
            "a class rANS plan has an impossible number of column classes",
            expected=f"1 to {MAX_COLUMN_CLASSES}",
            found=f"{columns}",
        )
    split = (
        [bool(cursor.byte()) for _ in group.spans] if columns > 1 else [False] * len(group.spans)
    )
    plan = read_plan(cursor)
    if cursor.left():
        raise damaged("a class rANS plan is too long", found=f"{cursor.left()} bytes more")
    matrices = [_Matrix(span, columns, one) for span, one in zip(group.spans, split)]
    runs = sum(one.rows * (columns if one.split else 1) for one in matrices)
    if 8 * runs > group.size_bytes + LEAST_RUNS_ITEMS:
        raise damaged(
            "a class rANS group is cut into too many rows",
            expected=f"at most {(group.size_bytes + LEAST_RUNS_ITEMS) // 8}",
            found=f"{runs}",
        )
    needed = sum(one.rows + (one.columns if one.split else 0) for one in matrices)
    labels = np.frombuffer(read_stream(streams[1], exactly=needed), np.uint8)
    for matrix in matrices:
        labels = matrix.label(labels)
    sequence = Sequence(
        plan,
        Coded.read(streams[2:], plan, group.size_bytes),
        np.concatenate([one.run_labels for one in matrices]),
        np.concatenate([one.run_lengths for one in matrices]),
    )
    _put(job, matrices, sequence)


class _Matrix:
    """A span as rows and columns, and the runs in which its items are coded.

    Rows come in the order of their classes; within a row, the columns in the order of theirs.
    """

    def __init__(self, span: Span, column_classes: int, split: bool) -> None:
        shape = span.coded_shape
        self.rows = shape[0] if len(shape) > 1 else 1
        self.columns = math.prod(shape) // self.rows
        self.column_classes, self.split = column_classes, split

    def label(self, labels: Bytes) -> Bytes:
        """Take this matrix's labels from the front; gives the others."""
        row_labels, labels = labels[: self.rows], labels[self.rows :]
        self.order = np.argsort(row_labels, kind="stable")
        first = row_labels[self.order].astype(np.int64) * self.column_classes
        self.runs_per_row = 1
        lengths = np.array([self.columns], np.int64)
        if self.split:
            column_labels, labels = labels[: self.columns], labels[self.columns :]
            if int(column_labels.max()) >= self.column_classes:
                raise damaged("a column is of a class that is not there")
            self.column_places = np.argsort(np.argsort(column_labels, kind="stable"))
            lengths = np.bincount(column_labels, minlength=self.column_classes)
            self.runs_per_row = self.column_classes
        every = first[:, None] + np.arange(self.runs_per_row)
        # A class beyond all numbers stays one that is not there.
        self.run_labels = np.minimum(every, 255).astype(np.uint8).reshape(-1)
        self.run_lengths = np.broadcast_to(lengths, (self.rows, lengths.size)).reshape(-1)
        return labels

    def blocks(self) -> list[tuple[int, int]]:
        """Rows that are expanded together: first, and one behind the last."""
        step = max(1, BLOCK_ITEMS // self.columns)
        return [(at, min(at + step, self.rows)) for at in range(0, self.rows, step)]

    def in_order(self, items: Bytes) -> Bytes:
        """A block's items with the columns in their places, [rows, columns]."""
        table = items.reshape(-1, self.columns)
        return table.take(self.column_places, axis=1) if self.split else table


def _put(job: Job, matrices: list[_Matrix], sequence: Sequence) -> None:
    """Expand the sequence block by block, each into its rows of the restored file."""
    shared = _shared_blocks(job, matrices)
    ends = np.cumsum([sum(piece.runs for piece in pieces) for pieces in shared])
    blocks = sequence.blocks(ends.tolist())
    for pieces, items in zip(shared, blocks):
        at = 0
        for piece in pieces:
            piece.put(items[at : at + piece.items])
            at += piece.items
    if next(blocks, None) is not None:
        raise damaged("a class rANS group has more items than its spans")


class _Piece:
    """Rows `first` to `last` of a matrix, `array` being the matrix's place in the restored file."""

    def __init__(self, matrix: _Matrix, array: Bytes, first: int, last: int) -> None:
        self._matrix, self._array, self._rows = matrix, array, slice(first, last)
        self.items = (last - first) * matrix.columns
        self.runs = (last - first) * matrix.runs_per_row

    def put(self, items: Bytes) -> None:
        """Put the rows, as they were coded, where they belong."""
        rows = self._matrix.in_order(items)
        self._array[self._matrix.order[self._rows]] = rows.reshape(-1, *self._array.shape[1:])


def _shared_blocks(job: Job, matrices: list[_Matrix]) -> list[list[_Piece]]:
    """The pieces of all matrices, as many in a block as it has room for: small ones share one."""
    shared: list[list[_Piece]] = []
    room = 0
    for matrix, span in zip(matrices, job.group.spans):
        array = in_coded_order(job, span)
        array = array if matrix.rows == array.shape[0] else array[None]
        for first, last in matrix.blocks():
            piece = _Piece(matrix, array, first, last)
            if not shared or piece.items > room:
                shared.append([])
                room = BLOCK_ITEMS
            shared[-1].append(piece)
            room -= piece.items
    return shared
