"""The verdict as Markdown, for a pull request's comment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from exporter.build import write_bytes
from exporter.gate.text import printable
from exporter.gate.verdict import Line, Verdict

__all__ = ["MARKER", "to_markdown", "write_markdown"]

# A bot finds its earlier comment by this line and replaces it.
MARKER: Final = "<!-- edgewright check -->"

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|~#&!$])")


def to_markdown(verdict: Verdict) -> str:
    """A headline, a table of every line, and what to do about those that failed."""
    sign = "✅" if verdict.passed else "❌"
    rows = [
        "| | artifact | limit | allowed | measured | margin |",
        "|---|---|---|--:|--:|--:|",
        *map(_row, verdict.lines),
    ]
    parts = [MARKER, f"### {sign} {_escape(verdict.summary)}", "\n".join(rows)]
    if verdict.failures:
        parts.append("#### What to do")
        parts.append("\n".join(map(_advice, verdict.failures)))
    return "\n\n".join(parts) + "\n"


def write_markdown(verdict: Verdict, path: Path) -> None:
    """Write the text, whole or not at all."""
    write_bytes(path, to_markdown(verdict).encode())


def _row(line: Line) -> str:
    cells = (
        "✅" if line.passed else "❌",
        _escape(line.artifact),
        _escape(line.title),
        _escape(line.limit_text),
        _escape(line.measured_text),
        line.margin_text,
    )
    return "| " + " | ".join(cells) + " |"


def _advice(line: Line) -> str:
    text = f"- **{_escape(line.artifact)}, {_escape(line.title)}**: {_escape(line.reason)}."
    return text + (f" *What helps:* {_escape(line.remedy)}." if line.remedy else "")


def _escape(text: str) -> str:
    """A name out of a file can break neither the table nor the page, and mentions nobody."""
    escaped = _SPECIAL.sub(r"\\\1", printable(text))
    return escaped.replace("@", "@\N{ZERO WIDTH SPACE}")
