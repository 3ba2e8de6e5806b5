"""The agent as one file, and its answers as reports or as the errors that they name.

The file is a zipapp of the `runtimes` package: any Python with numpy and an interpreter runs it,
with nothing of edgewright installed there.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import zipapp
from pathlib import Path
from typing import TypeVar

import runtimes
from devices.errors import AgentError
from devices.transport import Result
from runtimes.errors import EdgewrightError, MissingRuntimeError, ModelError, PackageError
from runtimes.report import decode

AGENT_NAME = "agent.pyz"
SHOWN_CHARACTERS = 200
SHELL_SIGNAL_BASE = 128  # a shell tells "ended by signal N" as 128 + N

_ERRORS: dict[str, type[EdgewrightError]] = {
    cls.__name__: cls for cls in (EdgewrightError, MissingRuntimeError, ModelError, PackageError)
}

Report = TypeVar("Report")


def build_agent(target: Path) -> None:
    """Write the zipapp of the `runtimes` package's Python files to `target`."""
    package = Path(runtimes.__file__).parent
    with tempfile.TemporaryDirectory(prefix="edgewright-agent-") as scratch:
        copy = Path(scratch, package.name)
        copy.mkdir()
        for source in sorted(package.glob("*.py")):
            shutil.copyfile(source, copy / source.name)
        zipapp.create_archive(scratch, target, main=f"{package.name}.__main__:main")


def read_answer(result: Result, report: type[Report], python: str) -> Report:
    """Turn what an agent process left into its report.

    Raises:
        EdgewrightError: what the agent itself refused, as the class that it named.
        AgentError: the process died, or its answer is none.
    """
    number = _signal(result.returncode)
    if number is not None:
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        raise AgentError(
            f"the agent was killed by {name} (signal {number})",
            expected="an answer",
            found=_tail(result.stderr),
            remedy=_SIGNAL_REMEDIES.get(name, "try the file in another interpreter"),
        )
    try:
        answer = json.loads(result.stdout)
        if answer["ok"] is True:
            return decode(report, answer["report"])
        error = answer["error"]
        kind, problem = str(error["type"]), str(error["problem"])
        details = {key: str(error[key]) for key in ("expected", "found", "remedy")}
    except (ValueError, TypeError, KeyError, EdgewrightError) as error:
        raise AgentError(
            f"the agent's answer is not a report (exit code {result.returncode})",
            expected=f"one JSON document with a {report.__name__}",
            found=f"{result.stdout[:SHOWN_CHARACTERS]!r} ({error}); {_tail(result.stderr)}",
            remedy=f"check that '{python}' is Python 3.9 or newer and starts without a word",
        ) from None
    if kind in _ERRORS:
        raise _ERRORS[kind](problem, **details)
    raise AgentError(
        f"the agent failed: {problem}",
        found=_tail(result.stderr),
        remedy="this is an error in edgewright: please report it",
    )


_SIGNAL_REMEDIES = {
    "SIGKILL": "the system kills a process that needs more memory than there is: check that",
    "SIGILL": "the interpreter was built for a newer processor: install an older version of it",
}


def _signal(returncode: int) -> int | None:
    if returncode < 0:
        return -returncode
    number = returncode - SHELL_SIGNAL_BASE
    return number if number in set(signal.Signals) else None


def _tail(stderr: str) -> str:
    """The end of what a process said on stderr, where its last error is."""
    text = stderr.strip()
    return f"on stderr: ...{text[-SHOWN_CHARACTERS:]!r}" if text else "nothing on stderr"
