"""What a command costs: wall and CPU seconds, and peak memory, its children included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtimes.errors import EdgewrightError

# Runs a command and writes what it cost. It is a process of its own, and a small one, because
# Linux counts the memory of the process that calls exec into the peak of what is executed: started
# straight from here, a command would seem to need at least what this process holds.
_LAUNCHER: Final = """
import json, os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall_s = time.perf_counter() - start
peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
with open(sys.argv[1], "w", encoding="ascii") as report:
    json.dump([os.waitstatus_to_exitcode(status), wall_s, usage.ru_utime + usage.ru_stime,
               peak_bytes], report)
"""
_TAIL: Final = 2000


class CommandError(EdgewrightError):
    """A measured command failed, or took longer than it may."""


@dataclass(frozen=True)
class Cost:
    """What one run of a command cost.

    Attributes:
        returncode: its exit code; negative is the signal that ended it.
        wall_s: seconds from start to end.
        cpu_s: processor seconds, user and system, with those of children that it waited for.
        peak_rss_bytes: the largest resident memory of the command or one of its children, by
            getrusage(2); the floor is that of a bare Python, some 10 MB.
        others_cpu_s: processor seconds that everything else on the machine took meanwhile (and a
            virtual machine's host); None where the system does not tell.
        stdout: what it printed.
        stderr: what it complained.
    """

    returncode: int
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    others_cpu_s: float | None
    stdout: str
    stderr: str


def measure(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Cost:
    """Run a command and say what it cost.

    Args:
        argv: the program and its arguments; no shell.
        timeout_s: the command, and all that it started, ends after this many seconds.
        cwd: where to run; here by default.
        env: the whole environment; this process's by default.
        check: whether an exit code other than 0 raises.

    Raises:
        CommandError: it cannot be started, took too long, or (with `check`) failed.
    """
    command = [os.fspath(part) for part in argv]
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        report = Path(folder) / "cost.json"
        busy_before = machine_busy_s()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, report, *command],
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        stdout, stderr = _communicate(process, command, timeout_s)
        if not report.is_file():
            raise CommandError(f"{command[0]} cannot be started", found=stderr[-_TAIL:])
        returncode, wall_s, cpu_s, peak_bytes = json.loads(report.read_text(encoding="ascii"))
        others_s = None if busy_before is None else (machine_busy_s() or 0.0) - busy_before - cpu_s
        others_s = None if others_s is None else max(0.0, others_s)
        cost = Cost(returncode, wall_s, cpu_s, peak_bytes, others_s, stdout, stderr)
    if check and cost.returncode != 0:
        raise CommandError(
            f"{' '.join(command)} failed",
            expected="exit code 0",
            found=f"exit code {cost.returncode}\n{(stderr or stdout)[-_TAIL:]}",
        )
    return cost


def machine_busy_s(stat: Path = Path("/proc/stat")) -> float | None:
    """Processor seconds, of all cores, since the machine started; None where it does not tell.

    proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks; guests' time is part
    of user's.
    """
    try:
        ticks = [int(word) for word in stat.read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    except OSError:
        return None
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")


def _communicate(
    process: subprocess.Popen[str], command: Sequence[str], timeout_s: float
) -> tuple[str, str]:
    """Wait for the end; whatever happens, nothing of the command's session goes on."""
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise CommandError(
            f"{' '.join(command)} took too long", expected=f"at most {timeout_s:g} s"
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
