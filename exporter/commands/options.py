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


def numbers(text: str) -> tuple[float, ...]:
    """The numbers of an option that takes several with commas between.

    Raises:
        RecipeError: something there is no number.
    """
    from exporter.errors import RecipeError

    try:
        return tuple(float(one) for one in text.split(",") if one.strip())
    except ValueError:
        raise RecipeError(
            "a list of numbers is expected", expected="such as 0.5,0.9", found=text
        ) from None
