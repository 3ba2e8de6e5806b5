"""A phone for tests: a root with busybox alone (no Python, no libc), behind the tests' adbd."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ADBD = Path(__file__).with_name("adbd.py")
SHELL_USER = 2000
SMALL_BYTES = 2**20
# Inside a mount namespace of the daemon's own, so that the mounts go when it does.
MOUNT = """
mount -t proc proc "$1/proc" || exit 1
mount -t tmpfs -o size=$2,mode=1777 tmpfs "$1/small" || exit 1
if [ -f "$1/board/cpuinfo" ]; then mount --bind "$1/board/cpuinfo" "$1/proc/cpuinfo" || exit 1; fi
shift 2
exec "$@"
"""


@dataclass
class Phone:
    process: subprocess.Popen
    root: Path
    port: int

    @property
    def serial(self):
        return f"127.0.0.1:{self.port}"

    def left(self):
        """What is left on the phone: files in its temporary directory, processes in its root."""
        files = sorted(path.name for path in (self.root / "data/local/tmp").iterdir())
        return files, [pid for pid in os.listdir("/proc") if pid.isdigit() and self._runs(pid)]

    def _runs(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/root") == str(self.root)
        except OSError:
            return False

    def wait_until_clean(self, timeout_s=15):
        end = time.monotonic() + timeout_s
        while self.left() != ([], []) and time.monotonic() < end:
            time.sleep(0.05)
        assert self.left() == ([], [])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.root)


def make_root(busybox: Path) -> Path:
    """A directory tree that holds a shell and little more."""
    root = Path(tempfile.mkdtemp(prefix="edgewright-phone-"))
    root.chmod(0o755)
    for name in ("bin", "proc", "sys", "dev", "small", "data/local/tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (root / "dev/null").chmod(0o666)
    os.chown(root / "data/local/tmp", SHELL_USER, SHELL_USER)
    return root


def start(*flags: str, board=None, busybox: str = "/bin/busybox") -> Phone:
    """Start a phone; `flags` are the daemon's. Skips the test where it cannot be made.

    With a `board` (exporter.verify.boards), its arm64 programs see that board's /proc and /sys.
    """
    if os.getuid() != 0:
        pytest.skip("NOT TESTED: only root can make the phone's root (chroot, mounts)")
    if not Path(busybox).exists():
        pytest.skip("NOT TESTED: needs a static busybox (Debian: busybox-static)")
    root = make_root(Path(busybox))
    for name, text in board.files() if board is not None else ():
        file = root / name.replace("proc/", "board/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    daemon = [sys.executable, str(ADBD), str(root), *flags]
    argv = ["/usr/bin/unshare", "-m", "sh", "-c", MOUNT, "sh", str(root), str(SMALL_BYTES)]
    environment = {**os.environ, **({"QEMU_CPU": board.cpu} if board is not None else {})}
    process = subprocess.Popen([*argv, *daemon], stdout=subprocess.PIPE, env=environment)
    port = process.stdout.readline()
    if not port:
        process.wait()
        process.stdout.close()
        shutil.rmtree(root)
        pytest.skip("NOT TESTED: root here may not make mounts for the phone")
    return Phone(process, root, int(port))
