"""Tables of a flatbuffer by their fields' places in the schema, without the schema's own code.

A vtable has a slot for each field, in the order of the schema; generated code knows no more than
that. (FlatBuffers internals, https://flatbuffers.dev/internals/.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table


class Flat:
    """A table of a flatbuffer.

    A damaged file makes its methods raise `struct.error`, `TypeError` or `IndexError`.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._table: Any = Table(data, at)

    @classmethod
    def root(cls, data: bytes) -> Flat:
        """The table that the file is."""
        return cls(data, encode.Get(packer.uoffset, data, 0))

    def integer(self, field: int, flags: type = number_types.Int32Flags) -> int:
        """A number field; 0, every such field's default here, where the file leaves it out."""
        at = self._offset(field)
        return int(self._table.Get(flags, at + self._table.Pos)) if at else 0

    def vector(self, field: int) -> tuple[int, int]:
        """Where a vector's items begin in the file, and how many they are; 0 and 0 without one."""
        at = self._offset(field)
        return (int(self._table.Vector(at)), int(self._table.VectorLen(at))) if at else (0, 0)

    def integers(self, field: int, flags: type = number_types.Int32Flags) -> tuple[int, ...]:
        """The items of a vector of numbers."""
        begin, count = self.vector(field)
        width = flags.bytewidth  # type: ignore[attr-defined]
        return tuple(
            int(self._table.Get(flags, at)) for at in range(begin, begin + width * count, width)
        )

    def table(self, field: int) -> Flat | None:
        """The table that a field holds; None without one."""
        at = self._offset(field)
        return Flat(self._data, self._table.Indirect(at + self._table.Pos)) if at else None

    def tables(self, field: int) -> Iterator[Flat]:
        """The tables of a vector."""
        begin, count = self.vector(field)
        for at in range(begin, begin + 4 * count, 4):
            yield Flat(self._data, self._table.Indirect(at))

    def _offset(self, field: int) -> int:
        return int(self._table.Offset(4 + 2 * field))
