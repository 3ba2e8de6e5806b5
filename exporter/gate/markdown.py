"""The verdict as Markdown, for a pull request's comment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from exporter.build import write_bytes
from exporter.gate.text import printable, source
from exporter.gate.units import BYTES, SHARE, Quantity
from exporter.gate.verdict import NOTHING, Line, Verdict

__all__ = ["MARKER", "to_markdown", "write_markdown"]

# A bot finds its earlier comment by this line and replaces it.
MARKER: Final = "<!-- edgewright check -->"

_MOST_LAYERS: Final = 20

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
    if verdict.changes:
        parts.append(_account(verdict))
    return "\n\n".join(parts) + "\n"


def write_markdown(verdict: Verdict, path: Path) -> None:
    """Write the text, whole or not at all."""
    write_bytes(path, to_markdown(verdict).encode())


def _account(verdict: Verdict) -> str:
    """The layers that changed since the baseline, folded away: a reader opens it at need."""
    rows = [
        f"<details><summary>Layers since {_escape(verdict.baseline)}</summary>\n",
        "| layer | file | packed, about | zeros |",
        "|---|--:|--:|--:|",
    ]
    for change in verdict.changes[:_MOST_LAYERS]:
        cells = (
            _escape(change.layer),
            _from_to(change.baseline_bytes, change.bytes, BYTES),
            _from_to(change.baseline_entropy_bytes, change.entropy_bytes, BYTES),
            _from_to(change.baseline_sparsity, change.sparsity, SHARE),
        )
        rows.append("| " + " | ".join(cells) + " |")
    left = len(verdict.changes) - _MOST_LAYERS
    more = f"\n{left} more layers changed.\n" if left > 0 else ""
    return "\n".join(rows) + f"\n{more}\n</details>"


def _from_to(before: float | None, now: float | None, quantity: Quantity) -> str:
    old, new = (
        NOTHING if value is None else quantity.format(round(value) if quantity.whole else value)
        for value in (before, now)
    )
    return new if old == new else f"{old} → {new}"


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
    reason = _prose(line.reason + source(line))
    text = f"- **{_escape(line.artifact)}, {_escape(line.title)}**: {reason}."
    if line.details:
        text += f" Layers: {_escape('; '.join(line.details))}."
    return text + (f" *What helps:* {_prose(line.remedy)}." if line.remedy else "")


def _prose(text: str) -> str:
    """A sentence whose `commands` stand as code; in code nothing but a backtick means anything."""
    parts = printable(text).split("`")
    if len(parts) % 2 == 0:  # one has no partner, so it is part of a name
        return _escape(text)
    return "".join(
        f"`{part}`" if place % 2 and part.strip() else _escape(part)
        for place, part in enumerate(parts)
    )


def _escape(text: str) -> str:
    """A name out of a file can break neither the table nor the page, and mentions nobody."""
    escaped = _SPECIAL.sub(r"\\\1", printable(text))
    return escaped.replace("@", "@\N{ZERO WIDTH SPACE}")
