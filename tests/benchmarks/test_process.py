"""What a command costs, and what becomes of one that fails or hangs."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest

from benchmarks.process import CommandError, machine_busy_s, measure

MB = 10**6


def python(code: str, **options):
    return measure([sys.executable, "-c", code], timeout_s=60, **options)


def test_output_and_exit_code_come_back():
    cost = python(
        "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", check=False
    )

    assert (cost.returncode, cost.stdout, cost.stderr) == (3, "out\n", "err\n")


def test_memory_and_processor_time_are_the_command_s():
    bare = python("")
    busy = python("import time\nx = b'x' * 200_000_000\nwhile time.process_time() < 0.4: pass")

    assert busy.peak_rss_bytes - bare.peak_rss_bytes == pytest.approx(200 * MB, rel=0.1)
    assert busy.cpu_s >= 0.4
    assert busy.wall_s >= 0.4


def test_the_memory_of_this_process_does_not_count():
    held = np.ones(300 * MB, dtype=np.uint8)

    cost = python("")

    assert held.sum() == 300 * MB
    assert cost.peak_rss_bytes < 100 * MB


def test_children_count():
    child = "import time\nwhile time.process_time() < 0.3: pass"
    cost = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")

    assert cost.cpu_s >= 0.3


def test_a_failure_says_how_it_failed():
    with pytest.raises(CommandError, match=r"exit code 1\n(.|\n)*no such luck"):
        python("raise SystemExit('no such luck')")


def test_a_command_that_is_not_there_is_refused():
    with pytest.raises(CommandError, match="cannot be started"):
        measure(["no-such-command"], timeout_s=10)


def test_a_command_that_hangs_ends_with_all_that_it_started(tmp_path):
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )

    with pytest.raises(CommandError, match="at most 3 s"):
        measure([sys.executable, "-c", code], timeout_s=3)

    pid = int((tmp_path / "pid").read_text())
    assert _ends(pid)


def _ends(pid: int) -> bool:
    """Whether a process is gone, or a zombie that nobody has waited for, within some seconds."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


def test_where_and_in_what_environment_it_runs(tmp_path):
    code = "import os; print(os.getcwd(), sorted(os.environ)[:1])"
    cost = python(code, cwd=tmp_path, env={"AAA": "1", "PATH": os.environ["PATH"]})

    assert cost.stdout == f"{tmp_path} ['AAA']\n"


def test_what_others_took_meanwhile_is_told(tmp_path):
    (tmp_path / "stat").write_text("cpu 100 20 3 5000 400 5 6 7 90 0\ncpu0 1 2 3\n")

    assert machine_busy_s(tmp_path / "stat") == 141 / os.sysconf("SC_CLK_TCK")
    assert machine_busy_s(tmp_path / "none") is None


@pytest.mark.skipif(machine_busy_s() is None, reason="needs Linux: /proc/stat")
def test_the_command_itself_is_not_among_the_others():
    cost = python("import time\nwhile time.process_time() < 1: pass")

    assert 0 <= cost.others_cpu_s <= cost.wall_s * os.cpu_count()
