"""Names out of files, made safe to print; and a failed line in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.gate.verdict import Line

__all__ = ["explanation", "printable", "source"]


def explanation(line: Line) -> str:
    """What was allowed and measured, why that is no, the layers behind it, and what helps."""
    measured = "" if line.measured is None else f", measured {line.measured_text}"
    parts = [f"{line.title}: allowed {line.limit_text}{measured}; {line.reason}{source(line)}"]
    if line.details:
        parts.append(f"Layers: {'; '.join(line.details)}")
    if line.remedy:
        parts.append(f"What helps: {line.remedy}")
    return printable(". ".join(parts) + ".")


def source(line: Line) -> str:
    """Where the measured value comes from, in brackets; "" where nothing was measured."""
    return f" ({line.source})" if line.source and line.measured is not None else ""


def printable(text: str) -> str:
    """Replace what is not a visible character; newlines and tabs become spaces.

    A file name could otherwise move a terminal's cursor, or make an XML file invalid.
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\n\r\t" else "\N{REPLACEMENT CHARACTER}"
