"""How a package writes numbers: the mirror of `runtimes.untrusted.Cursor.varint`."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """An unsigned LEB128 number."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """A signed number as an unsigned one, the sign in its lowest bit."""
    return 2 * number if number >= 0 else -2 * number - 1
