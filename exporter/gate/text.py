"""Names out of files, made safe to print."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Replace what is not a visible character; newlines and tabs become spaces.

    A file name could otherwise move a terminal's cursor, or make an XML file invalid.
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\n\r\t" else "\N{REPLACEMENT CHARACTER}"
