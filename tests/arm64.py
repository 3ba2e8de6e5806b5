"""The arm64 root that the tests share, and a way into it as into a Raspberry Pi.

`conftest.py` beside this file has the fixtures: `arm64_root` gives the root's path, made once for
all workers and kept in .venvs/; a test that asks for it is skipped, with the reason, where a root
cannot be made. `enter_root` gives the function `enter` of this file where it can work, too:

    def test_something(enter_root, arm64_root, tmp_path):
        argv = enter_root(arm64_root, ["/usr/bin/python3", "-V"], binds={tmp_path: "/mnt"})
        subprocess.run(argv, check=True, timeout=60)

Inside: Debian 12 with Python 3.11, an OpenSSH server and the users root and pi (uid 1000, no
password; /home/pi is an empty tmpfs unless a bind lies over it), and two Pythons of one's own:

- /opt/runtimes/python: ai-edge-litert and onnxruntime of this environment's versions, numpy 2;
- /opt/tflite-runtime/python: tflite-runtime 2.14 with numpy < 2, as on an older Pi.

Both name the CPU to qemu themselves (QEMU_CPU, cortex-a72 unless it is set), since sshd hands no
environment on. /tmp, /run, /home and /mnt are tmpfs of the entry's own: nothing else may be
written. The entry's processes are a process namespace of their own and end with the process that
the argv starts: `kill()` that one (it ignores SIGTERM), and an sshd goes with all that it started.

An sshd for the user pi: keys and a configuration in a folder bound to /mnt, with `StrictModes no`,
`UsePAM no`, `PidFile none`, `ListenAddress 127.0.0.1`, started as ["/usr/sbin/sshd", "-D", "-e",
"-f", "/mnt/sshd_config"].
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporter.verify.arm64_root import RUNTIMES, File, Recipe, Target, runtimes_target
from exporter.verify.boards import PI_4, Board

CACHE = Path(__file__).resolve().parents[1] / ".venvs"
TFLITE_RUNTIME = "opt/tflite-runtime"

USERS = """\
root:x:0:0:root:/root:/bin/bash
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
pi:x:1000:1000:pi:/home/pi:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUPS = "root:x:0:\npi:x:1000:\nnogroup:x:65534:\n"
SHADOW = "root:*:20000::::::\nsshd:*:20000::::::\npi:*:20000::::::\nnobody:*:20000::::::\n"


def _python(folder: str) -> File:
    text = (
        "#!/bin/sh\n"
        f'QEMU_CPU="${{QEMU_CPU:-{PI_4.cpu}}}" PYTHONPATH=/{folder} PYTHONDONTWRITEBYTECODE=1 '
        'exec /usr/bin/python3 "$@"\n'
    )
    return File(f"{folder}/python", text, 0o755)


def recipe() -> Recipe:
    """A root for the exporter's tests and for a device's."""
    return Recipe(
        packages=(
            *("bash", "coreutils", "dash", "libc-bin", "openssh-client", "openssh-server"),
            *("procps", "util-linux"),
        ),
        targets=(
            runtimes_target(),
            Target(TFLITE_RUNTIME, ("tflite-runtime==2.14.0", "numpy<2")),
        ),
        files=(
            File("etc/passwd", USERS),
            File("etc/group", GROUPS),
            File("etc/shadow", SHADOW, 0o640),
            File("etc/hosts", "127.0.0.1 localhost\n"),
            _python(RUNTIMES),
            _python(TFLITE_RUNTIME),
        ),
    )


def enter(
    root: Path,
    argv: Sequence[str],
    *,
    board: Board = PI_4,
    binds: Mapping[Path, str] | None = None,
) -> list[str]:
    """The argv that runs a command of the root inside it, as the superuser, on a board.

    Args:
        root: an arm64 root.
        argv: the command, with paths as the root has them.
        board: whose CPU, /proc/cpuinfo and /sys are shown.
        binds: folders or files of this machine, and where they appear inside; below /sys, too.
    """
    script = Path(__file__).with_name("arm64_enter.py")
    shown = [f"{path}={place}" for path, place in (binds or {}).items()]
    return [
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
        *(sys.executable, str(script), str(root), board.cpu, str(len(shown)), *shown, *argv),
    ]


def skip_unless_entry_works() -> None:
    """Skip the test, saying why, where an arm64 root cannot be entered."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        pytest.skip("NOT TESTED: entering an arm64 root needs the superuser on Linux")
    for program in ("unshare", "mount", "chroot", "update-binfmts", "qemu-aarch64-static"):
        if shutil.which(program) is None:
            pytest.skip(
                f"NOT TESTED: entering an arm64 root needs {program} "
                "(apt: util-linux, coreutils, binfmt-support, qemu-user-static)"
            )
