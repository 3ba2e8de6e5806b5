"""One build beside another: what changed in size, accuracy, speed and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exporter.contents import LayerRow
from exporter.gate import account
from exporter.gate.evidence import Evidence
from exporter.gate.turns import TurnRow, load_turns
from exporter.gate.turns_table import verdicts
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, SHARE, Quantity, signed
from exporter.report.page import render_page
from exporter.report.summary import SummaryRow, build_rows, shown, time_text

__all__ = ["COMPARED", "write_comparison"]

COMPARED: Final = "compared.html"

_TOLERANCE: Final = 0.02
_MOST_CHANGES: Final = 200


@dataclass(frozen=True)
class Change:
    """One figure of a file in both builds, in words; `tone` is good, bad or ""."""

    caption: str
    before: str
    now: str
    change: str
    tone: str


@dataclass(frozen=True)
class FileChange:
    """One file in both builds."""

    label: str
    changes: tuple[Change, ...]


def write_comparison(
    new: Evidence,
    old: Evidence,
    layers: tuple[Sequence[LayerRow], Sequence[LayerRow]],
    *,
    output: Path | None = None,
) -> Path:
    """Write the page; gives its path.

    Args:
        new: the build that is judged.
        old: the build that it is compared with.
        layers: those of both, in the same order.
        output: where; COMPARED in the new build's directory by default.

    Raises:
        BuildError: a JSON file of a build is damaged.
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    from exporter.report import comparison_plots

    turns = _turns(new, old)
    changes = account.changes("", *layers)
    context: dict[str, Any] = {
        "new": new.manifest,
        "old": old.manifest,
        "files": file_changes(build_rows(new), build_rows(old)),
        "turns": list(zip(turns, verdicts(turns, _TOLERANCE), strict=True)),
        "tolerance": _TOLERANCE,
        "turns_plot": comparison_plots.ratios(turns),
        "changes": changes[:_MOST_CHANGES],
        "changes_total": len(changes),
        "changes_plot": comparison_plots.layer_changes(changes),
        "layers_total": len(layers[0]),
        "signed": signed,
    }
    return render_page("compared.html.j2", context, output or new.directory / COMPARED)


def _turns(new: Evidence, old: Evidence) -> tuple[TurnRow, ...]:
    """The rounds of the files of these very builds."""
    document = load_turns(new.directory)
    if document is None:
        return ()
    ours, theirs = (
        {artifact.sha256.lower() for artifact in build.manifest.artifacts} for build in (new, old)
    )
    return tuple(
        row for row in document.rows if row.sha256 in ours and row.baseline_sha256 in theirs
    )


def file_changes(new: Sequence[SummaryRow], old: Sequence[SummaryRow]) -> tuple[FileChange, ...]:
    """Each file that both builds have, with every figure of it that either knows."""
    before = {row.label: row for row in old}
    return tuple(
        FileChange(row.label, _changes(row, before[row.label]))
        for row in new
        if row.label in before
    )


def _changes(new: SummaryRow, old: SummaryRow) -> tuple[Change, ...]:
    time_note = "" if new.device == old.device else f" ({old.device}, then {new.device})"
    rows = (
        _points("accuracy", old.accuracy, new.accuracy),
        _relative("file", BYTES, old.file_bytes, new.file_bytes),
        _relative("package", BYTES, old.package_bytes, new.package_bytes),
        _time(f"p50{time_note}", old, new, old.p50_ms, new.p50_ms),
        _time(f"p90{time_note}", old, new, old.p90_ms, new.p90_ms),
        _relative("peak memory", BYTES, old.peak_memory_bytes, new.peak_memory_bytes),
    )
    return tuple(row for row in rows if row is not None)


def _points(caption: str, before: float | None, now: float | None) -> Change | None:
    if before is None and now is None:
        return None
    change, tone = "", ""
    if before is not None and now is not None:
        points = round((now - before) * 100, 9)
        sign = "+" if points >= 0 else "\N{MINUS SIGN}"
        change = f"{sign}{POINTS.format(abs(points))}" if points else "no change"
        tone = "good" if points > 0 else "bad" if points < 0 else ""
    return Change(caption, shown(before, SHARE), shown(now, SHARE), change, tone)


def _relative(
    caption: str, quantity: Quantity, before: float | None, now: float | None
) -> Change | None:
    if before is None and now is None:
        return None
    change, tone = _growth(before, now)
    return Change(caption, shown(before, quantity), shown(now, quantity), change, tone)


def _time(
    caption: str, old: SummaryRow, new: SummaryRow, before: float | None, now: float | None
) -> Change | None:
    """Times of two days: shown, but in no colour, since their difference proves nothing."""
    row = _relative(caption, MILLISECONDS, before, now)
    if row is None:
        return None
    texts = time_text(before, steady=old.steady), time_text(now, steady=new.steady)
    return Change(caption, *texts, row.change, "")


def _growth(before: float | None, now: float | None) -> tuple[str, str]:
    if not before or now is None:
        return "", ""
    tone = "good" if now < before else "bad" if now > before else ""
    return ("no change" if now == before else signed(now / before - 1)), tone
