"""One process on this machine, with a time limit that holds for all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Completed:
    """A process that ended. `returncode` is -N after signal N."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def stderr_text(self) -> str:
        """What it said on stderr, for people."""
        return self.stderr.decode("utf-8", "replace").strip()


def run_process(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | IO[bytes] = b"",
    stdout: IO[bytes] | None = None,
    cwd: str | None = None,
    environment: dict[str, str] | None = None,
    started: Callable[[subprocess.Popen[bytes]], None] = lambda _process: None,
) -> Completed:
    """Run a process to its end, in a session of its own: Ctrl-C reaches this program alone.

    Args:
        argv: the program and its arguments.
        timeout_s: after which it is killed, with all that it started.
        stdin: what it reads: bytes, or an open file.
        stdout: an open file for its output; `Completed.stdout` is empty then.
        cwd: where it runs.
        environment: its variables; None are this process's.
        started: is told of the process, which another thread may `kill`.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it ran past the limit and was killed.
    """
    given = isinstance(stdin, bytes)
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=environment,
        stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            started(process)
            out, err = process.communicate(stdin if given else None, timeout=timeout_s)  # type: ignore[arg-type]
        except BaseException:  # Ctrl-C too
            kill(process)
            raise
    return Completed(process.returncode, out or b"", err)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children: it leads a session, and so a process group, of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
