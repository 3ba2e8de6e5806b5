"""Fields of a protobuf message by their numbers, with their places in the file.

Readers made from a .proto give values and no places. Encoding:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_VARINT, _I64, _LENGTH, _I32 = 0, 1, 2, 5
_WIDTHS: Final = {_I64: 8, _I32: 4}
_MAX_VARINT_BYTES: Final = 10


@dataclass(frozen=True)
class Message:
    """A message, or any other length-delimited field, from `begin` to `end` of a file."""

    data: bytes
    begin: int
    end: int

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Number and value of each field: a number for varints, else where its bytes are.

        Raises:
            ValueError: the bytes are no message.
        """
        at = self.begin
        while at < self.end:
            key, at = self._varint(at)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, at = self._varint(at)
                yield number, value
                continue
            if kind == _LENGTH:
                width, at = self._varint(at)
            elif kind in _WIDTHS:
                width = _WIDTHS[kind]
            else:
                raise ValueError(f"a field of wire type {kind} at byte {at}")
            if width > self.end - at:
                raise ValueError(f"a field of {width} bytes at byte {at} of {self.end}")
            yield number, Message(self.data, at, at + width)
            at += width

    def messages(self, number: int) -> Iterator[Message]:
        """The length-delimited fields of this number."""
        for found, value in self.fields():
            if found == number and isinstance(value, Message):
                yield value

    def number(self, number: int) -> int:
        """The last varint field of this number; 0 without one."""
        return next(reversed(self.numbers(number)), 0)

    def numbers(self, number: int) -> list[int]:
        """The varints of this number, one by one or packed."""
        values: list[int] = []
        for found, value in self.fields():
            if found == number and isinstance(value, Message):
                values += value._packed()
            elif found == number and isinstance(value, int):
                values.append(value)
        return values

    def text(self, number: int) -> str:
        """The last string field of this number; empty without one."""
        strings = [self.data[one.begin : one.end] for one in self.messages(number)]
        return strings[-1].decode() if strings else ""

    def _packed(self) -> Iterator[int]:
        at = self.begin
        while at < self.end:
            value, at = self._varint(at)
            yield value

    def _varint(self, at: int) -> tuple[int, int]:
        """The number at a place, and the place behind it."""
        value = 0
        for place, byte in enumerate(self.data[at : min(at + _MAX_VARINT_BYTES, self.end)]):
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value, at + place + 1
        raise ValueError(f"a number without an end at byte {at}")
