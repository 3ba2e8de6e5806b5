"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Directory = Annotated[Path, typer.Argument(help="a build directory")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


def exit_on(good: bool) -> None:
    """Leave with exit code 1 unless the verdict is good."""
    if not good:
        raise typer.Exit(1)
