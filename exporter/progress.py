"""Progress bars: one a stage, with the remaining time; or nothing, for library use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

Advance = Callable[[int, str], None]
"""(units done since the last call, a note such as "loss 0.12")."""


class Reporter(Protocol):
    """What the pipeline tells about itself."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """A stage of `total` units of work."""

    def skipped(self, title: str) -> None:
        """A stage that was finished before and is not done again."""

    def show(self, table: Table) -> None:
        """What a stage has found, for people."""

    def warn(self, text: str) -> None:
        """What people should know of, though the build goes on."""


class Silent:
    """Tells nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """See `Reporter`."""
        yield lambda done, note: None

    def skipped(self, title: str) -> None:
        """See `Reporter`."""

    def show(self, table: Table) -> None:
        """See `Reporter`."""

    def warn(self, text: str) -> None:
        """See `Reporter`."""


class Bars:
    """Bars on a terminal; a line a finished stage where there is none."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """See `Reporter`."""
        progress = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
        )
        with progress:
            task = progress.add_task(title, total=total, note="")

            def advance(done: int, note: str) -> None:
                progress.update(task, advance=done)
                if note:
                    progress.update(task, note=note)

            yield advance
            progress.update(task, completed=total)

    def skipped(self, title: str) -> None:
        """See `Reporter`."""
        self._console.print(Text.assemble(f"{title:<26} ", ("taken from the run before", "dim")))

    def show(self, table: Table) -> None:
        """See `Reporter`."""
        self._console.print(table)

    def warn(self, text: str) -> None:
        """See `Reporter`."""
        self._console.print(Text.assemble(("warning:", "yellow"), f" {text}"), soft_wrap=True)
