"""What rounds in turns show, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exporter.build import SCHEMA_VERSION
from exporter.gate import statistics
from exporter.gate.statistics import Comparison
from exporter.gate.text import printable
from exporter.gate.turns import TurnRow
from exporter.gate.units import MILLISECONDS, SHARE, signed

__all__ = ["SELF_TESTS", "answers", "render", "render_self_test", "to_json", "verdicts"]

SELF_TESTS: Final = 200

_STYLES = {"better or equal": "green", "worse": "bold red", "inconclusive": "yellow"}


def answers(rows: Sequence[TurnRow], tolerance: float) -> tuple[str, ...]:
    """The answer for each row; "too few rounds" for one that nothing can be said of."""
    return tuple(
        "too few rounds" if found is None else found.answer for found in verdicts(rows, tolerance)
    )


def verdicts(rows: Sequence[TurnRow], tolerance: float) -> tuple[Comparison | None, ...]:
    """What each row shows; None for one of too few rounds."""
    return tuple(
        statistics.compare(row.new_ms, row.baseline_ms, tolerance=tolerance)
        if len(row.new_ms) >= statistics.LEAST_ROUNDS
        else None
        for row in rows
    )


def render(rows: Sequence[TurnRow], tolerance: float) -> RenderableType:
    """A line for each file: both medians, the change with its interval, the answer."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("device", overflow="fold")
    for name in ("before", "now", "change", "surely between", "noise", "rounds"):
        table.add_column(name, justify="right")
    table.add_column("answer")
    for row, found in zip(rows, verdicts(rows, tolerance), strict=True):
        table.add_row(
            Text(printable(row.artifact)), Text(printable(row.device)), *_cells(row, found)
        )
    allowed = SHARE.format(tolerance)
    note = (
        f"Worse: slower by more than {allowed}. A file that is not is called so in less than "
        f"{SHARE.format(statistics.ERROR_RATE)} of comparisons."
    )
    return Group(table, Text(note, style="dim"))


def render_self_test(rows: Sequence[TurnRow], tolerance: float) -> RenderableType:
    """How often the noise of these very rounds calls a file worse than itself.

    Comparisons of as many rounds are drawn out of the baseline's own times, SELF_TESTS of them.
    """
    lines = []
    for row in rows:
        if len(row.baseline_ms) < statistics.LEAST_ROUNDS:
            continue
        worse = statistics.self_test(
            row.baseline_ms,
            rounds=len(row.baseline_ms),
            tolerance=tolerance,
            comparisons=SELF_TESTS,
        )
        lines.append(
            Text(
                f"{printable(row.artifact)} with itself on {printable(row.device)}: worse in "
                f"{worse} of {SELF_TESTS} simulated comparisons"
            )
        )
    return Group(*lines)


def _cells(row: TurnRow, found: Comparison | None) -> tuple[str | Text, ...]:
    before, now = (MILLISECONDS.format(_median(side)) for side in (row.baseline_ms, row.new_ms))
    rounds = str(len(row.new_ms))
    if found is None:
        few = Text(f"too few rounds: {statistics.LEAST_ROUNDS} are the least", style="yellow")
        return before, now, "", "", "", rounds, few
    ratio = found.ratio
    answer: str = found.answer
    if answer == "inconclusive":
        more = found.more_rounds
        answer += f", about {more} more rounds" if more is not None else ", at the limit itself"
    return (
        before,
        now,
        signed(ratio.estimate - 1),
        f"{signed(ratio.low - 1)} and {signed(ratio.high - 1)}",
        SHARE.format(found.noise),
        rounds,
        Text(answer, style=_STYLES[found.answer]),
    )


def _median(samples_ms: Sequence[float]) -> float:
    ordered = sorted(samples_ms)
    return ordered[len(ordered) // 2]


def to_json(rows: Sequence[TurnRow], tolerance: float) -> str:
    """One JSON document: each row's answer, without its samples."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tolerance": tolerance,
        "error_rate": statistics.ERROR_RATE,
        "rows": list(map(_row, rows, verdicts(rows, tolerance))),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _row(row: TurnRow, found: Comparison | None) -> dict[str, Any]:
    what = row.model_dump(mode="json", exclude={"new_ms", "baseline_ms"})
    medians = {"new_ms": _median(row.new_ms), "baseline_ms": _median(row.baseline_ms)}
    return what | medians | {"verdict": None if found is None else found.model_dump(mode="json")}
