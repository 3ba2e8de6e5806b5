"""The agent: `python -m runtimes` reads one JSON request on stdin and writes one JSON answer.

With arguments it is `python -m runtimes unpack F.ewp`, for people: see `runtimes.unpack`.

Nothing else reaches stdout: interpreters that print, even from C, print to stderr. One model per
process. The exit code is 0, or that of the error answered. `runtimes.report` has the fields.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import sys
from typing import Any, Callable

from runtimes.errors import EdgewrightError, MissingRuntimeError
from runtimes.report import (
    SCHEMA_VERSION,
    BenchRequest,
    InfoRequest,
    ProfileRequest,
    RunRequest,
    SmokeRequest,
    decode,
)

INTERNAL_ERROR_EXIT_CODE = 3


def main() -> None:
    """Answer the request on stdin, and exit; or, called with `unpack`, unpack a package."""
    if sys.argv[1:2] == ["unpack"]:
        from runtimes.unpack import main as unpack

        sys.exit(unpack(sys.argv[2:]))
    answer_fd = _take_stdout()
    faulthandler.enable()  # an interpreter that crashes leaves a trace on stderr
    exit_code, answer = _answer(sys.stdin.buffer.read())
    with os.fdopen(answer_fd, "wb") as stream:
        stream.write(json.dumps(answer).encode() + b"\n")
    sys.exit(exit_code)


def _take_stdout() -> int:
    """Keep the real stdout for the answer, and let whatever else is printed go to stderr."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    return answer_fd


def _answer(text: bytes) -> tuple[int, dict[str, object]]:
    head: dict[str, object] = {"schema_version": SCHEMA_VERSION}
    try:
        action, report = handle(text)
    except EdgewrightError as error:
        return error.exit_code, {**head, "ok": False, "error": _describe(error)}
    except Exception as error:  # the answer must be a document, whatever happened
        sys.excepthook(*sys.exc_info())
        wrapped = EdgewrightError(f"{type(error).__name__}: {error}")
        described = dict(_describe(wrapped), type="InternalError")
        described["exit_code"] = INTERNAL_ERROR_EXIT_CODE
        return INTERNAL_ERROR_EXIT_CODE, {**head, "ok": False, "error": described}
    return 0, {**head, "ok": True, "action": action, "report": report}


def handle(text: bytes) -> tuple[str, dict[str, object]]:
    """Do what a request asks; gives its action and the report as plain data.

    Raises:
        EdgewrightError: the request or the file is bad, or no interpreter is there for it.
    """
    fields = _parse(text)
    action = fields.pop("action", None)
    try:
        # numpy, and with it all that measures, comes in only here: where it is missing, the
        # answer can say so.
        from runtimes.bench import bench
        from runtimes.info import info
        from runtimes.profile import profile
        from runtimes.smoke import run, smoke
    except ImportError as error:
        raise MissingRuntimeError(
            f"the agent cannot start under {sys.executable}",
            expected="Python 3.9 or newer with numpy",
            found=str(error),
            remedy="pip install numpy",
        ) from None

    actions: dict[object, tuple[type, Callable[[Any], object]]] = {
        "info": (InfoRequest, info),
        "bench": (BenchRequest, bench),
        "profile": (ProfileRequest, profile),
        "run": (RunRequest, run),
        "smoke": (SmokeRequest, smoke),
    }
    if not isinstance(action, str) or action not in actions:
        raise EdgewrightError(
            "the request names no action",
            expected='"action": one of ' + ", ".join(f'"{name}"' for name in actions),
            found=repr(action),
        )
    request, work = actions[action]
    report: Any = work(decode(request, fields))
    return action, dataclasses.asdict(report)


def _parse(text: bytes) -> dict[str, object]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise EdgewrightError(
            "the request is no JSON",
            expected='one document on stdin, such as {"action": "info"}',
            found=str(error),
        ) from None
    if not isinstance(fields, dict):
        raise EdgewrightError("the request must be a JSON object", found=repr(fields)[:200])
    return fields


def _describe(error: EdgewrightError) -> dict[str, object]:
    return {
        "type": type(error).__name__,
        "message": str(error),
        "exit_code": error.exit_code,
        "problem": error.problem,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
    }


if __name__ == "__main__":
    main()
