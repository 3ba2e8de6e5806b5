"""The agent as one file, and the answers of agents as reports or as the errors that they name.

The file is a zipapp of the `runtimes` package: any Python with numpy and an interpreter runs it,
with nothing of edgewright installed there. The native runner answers in the same form.
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
from devices.errors import FREE_SPACE, AgentError, CrashError, NoSpaceError
from devices.transport import Result
from runtimes.errors import EdgewrightError, MissingRuntimeError, ModelError, PackageError
from runtimes.report import SCHEMA_VERSION, decode

AGENT_NAME = "agent.pyz"
SHOWN_CHARACTERS = 200
NO_SPACE = "No space left on device"  # strerror(ENOSPC)
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


def read_answer(result: Result, report: type[Report], program: str) -> Report:
    """Turn what an agent process left into its report.

    Raises:
        EdgewrightError: what the agent itself refused, as the class that it named.
        CrashError: the process died by a signal.
        AgentError: its answer is none.
    """
    check_for_a_crash(result, "the agent")
    try:
        answer = json.loads(result.stdout)
        version = answer["schema_version"]
        if version == SCHEMA_VERSION and answer["ok"] is True:
            return decode(report, answer["report"])
        error = {} if version != SCHEMA_VERSION else answer["error"]
        kind, problem = str(error.get("type")), str(error.get("problem"))
        details = {key: str(error.get(key, "")) for key in ("expected", "found", "remedy")}
    except (ValueError, TypeError, KeyError, AttributeError, EdgewrightError) as error:
        raise _no_report(result, report.__name__, program, error) from None
    if any(NO_SPACE in text for text in (problem, details["found"])):
        raise _full(details["found"] or problem)
    if version != SCHEMA_VERSION:
        raise AgentError(
            f"'{program}' answers in another version of the report",
            expected=f"schema version {SCHEMA_VERSION}",
            found=repr(version)[:SHOWN_CHARACTERS],
            remedy="build the native runner again: edgewright devices build-runner",
        )
    if kind in _ERRORS:
        raise _ERRORS[kind](problem, **details)
    raise AgentError(
        f"the agent failed: {problem}",
        found=_tail(result.stderr),
        remedy="this is an error in edgewright: please report it",
    )


def check_for_a_crash(result: Result, program: str) -> None:
    """Raise what killed a process, if a signal did.

    Raises:
        CrashError: the process died by a signal, which is named.
    """
    number = _signal(result.returncode)
    if number is not None:
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        raise CrashError(
            f"{program} was killed by {name} (signal {number})",
            expected="an answer",
            found=_tail(result.stderr),
            remedy=_SIGNAL_REMEDIES.get(name, "try the file in another interpreter"),
        )


def _no_report(result: Result, name: str, program: str, error: Exception) -> EdgewrightError:
    if NO_SPACE in result.stderr:
        return _full(_tail(result.stderr))
    return AgentError(
        f"the agent's answer is not a report (exit code {result.returncode})",
        expected=f"one JSON document with a {name}",
        found=f"{result.stdout[:SHOWN_CHARACTERS]!r} ({error}); {_tail(result.stderr)}",
        remedy=f"check that '{program}' is Python 3.9 or newer and starts without a word",
    )


def _full(found: str) -> NoSpaceError:
    return NoSpaceError(
        "the device's disk is full",
        found=found,
        remedy=FREE_SPACE,
    )


_SIGNAL_REMEDIES = {
    "SIGKILL": "the system kills a process that needs more memory than there is: check that",
    "SIGILL": "the interpreter was built for a newer processor: install an older version of it",
    "SIGSEGV": "the interpreter crashes on this file: try another one, or another version of it "
    "(tflite-runtime 2.14 does on ARM, on dense layers with a scale per channel)",
}


def _signal(returncode: int) -> int | None:
    if returncode < 0:
        return -returncode
    number = returncode - SHELL_SIGNAL_BASE
    return number if number in set(signal.Signals) else None


def _tail(stderr: str) -> str:
    """The end of what a process said on stderr, where its last error is.

    Of a crash's trace, the beginning: it names the call that crashed.
    """
    text = stderr.strip()
    crash = text.find("Fatal Python error")
    if crash >= 0:
        return f"on stderr: {text[crash : crash + 2 * SHOWN_CHARACTERS]!r}..."
    return f"on stderr: ...{text[-SHOWN_CHARACTERS:]!r}" if text else "nothing on stderr"
