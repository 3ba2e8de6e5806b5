"""The verdict as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.gate.text import printable, source
from exporter.gate.verdict import Line, Verdict

__all__ = ["render"]


def render(verdict: Verdict) -> RenderableType:
    """The table of lines, a summary, and what to do about each line that failed.

    Every text is a `Text`: rich reads no markup in names that come out of files.
    """
    style = "bold green" if verdict.passed else "bold red"
    sign = "✓" if verdict.passed else "✗"
    return Group(
        _table(verdict),
        Text(f"{sign} {printable(verdict.summary)}", style=style),
        *(part for line in verdict.failures for part in _advice(line)),
    )


def _table(verdict: Verdict) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    table.add_column("artifact", overflow="fold")
    table.add_column("limit", overflow="fold")
    table.add_column("allowed", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("margin", justify="right")
    previous = ""
    for line in verdict.lines:
        # An artifact's name stands once, at its first line: the eye finds the groups.
        name = "" if line.artifact == previous else printable(line.artifact)
        previous = line.artifact
        table.add_row(
            Text("✓", style="green") if line.passed else Text("✗", style="bold red"),
            Text(name),
            Text(printable(line.title)),
            Text(printable(line.limit_text)),
            Text(printable(line.measured_text), style="" if line.passed else "bold red"),
            Text(line.margin_text, style="dim" if line.passed else "red"),
        )
    return table


def _advice(line: Line) -> Iterator[RenderableType]:
    head = Text("✗ ", style="bold red")
    head.append(f"{printable(line.artifact)}: {printable(line.title)}", style="bold")
    yield Text("")
    yield head
    yield Padding(Text(printable(line.reason + source(line))), (0, 0, 0, 2), expand=False)
    for detail in line.details:
        yield Padding(Text(f"· {printable(detail)}"), (0, 0, 0, 2), expand=False)
    if line.remedy:
        advice = Text("what helps: ", style="dim")
        advice.append(printable(line.remedy), style="not dim")
        yield Padding(advice, (0, 0, 0, 2), expand=False)
