"""The verdict for GitHub Actions: annotations at the budget's lines, and the step's summary.

Commands are lines on stdout or stderr that the runner reads:
https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Final

from exporter.errors import BuildError
from exporter.gate.markdown import to_markdown
from exporter.gate.text import explanation, printable
from exporter.gate.verdict import Line, Verdict

__all__ = ["SUMMARY_VARIABLE", "add_summary", "workflow_commands"]

SUMMARY_VARIABLE: Final = "GITHUB_STEP_SUMMARY"


def workflow_commands(verdict: Verdict) -> list[str]:
    """One `::error` command a failure, one `::notice` where there is none.

    GitHub shows ten of a kind for a step; the summary has them all.
    """
    if verdict.passed:
        return [f"::notice title=edgewright::{_data(verdict.summary)}"]
    if not verdict.failures:
        return [f"::error title=edgewright::{_data(verdict.summary)}"]
    return [_error(line, verdict) for line in verdict.failures]


def add_summary(verdict: Verdict, environment: Mapping[str, str] = os.environ) -> bool:
    """Append the verdict to the step's summary; False where no runner asks for one.

    Raises:
        BuildError: the runner's file cannot be written.
    """
    path = environment.get(SUMMARY_VARIABLE)
    if not path:
        return False
    try:
        # Other steps' lines stand there too: append, never replace.
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(to_markdown(verdict))
    except OSError as error:
        raise BuildError(
            f"the step's summary {path} cannot be written",
            expected=f"a file that {SUMMARY_VARIABLE} names",
            found=str(error),
            remedy="leave --github out where no GitHub runner sets that variable",
        ) from None
    return True


def _error(line: Line, verdict: Verdict) -> str:
    properties = {"title": f"{line.artifact}: {line.title}"}
    if verdict.budget:
        properties["file"] = PurePath(verdict.budget).as_posix()
        properties["line"] = str(line.budget_line or 1)
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::error {written}::{_data(explanation(line))}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
