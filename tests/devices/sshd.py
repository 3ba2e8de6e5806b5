"""A real sshd on loopback for tests, which only the ordinary user it runs as can log in to."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

UID = 2345  # of the user `pi`, who is made in a mount namespace of the daemon's own
START_TIMEOUT_S = 10
SMALL_BYTES = 2**20


@dataclass
class Sshd:
    """`root` holds the keys; `home` and `tmp` are what a session there sees."""

    process: subprocess.Popen
    root: Path
    user: str
    port: int

    @property
    def tmp(self):
        return self.root / "tmp"

    @property
    def small(self):
        """A directory on a disk of SMALL_BYTES; skips the test where only root could make one."""
        if os.getuid() != 0:
            pytest.skip("NOT TESTED: only root can mount a disk that is full")
        return self.root / "small"

    def options(self, port=None, *, known="known_hosts", key="client"):
        """Options of ssh that know this host (under a port) and its key, and read no ~/.ssh."""
        known_hosts = self.root / known
        if known == "known_hosts":
            lines = [f"[127.0.0.1]:{one} {self.host_key}" for one in (self.port, port) if one]
            known_hosts.write_text("".join(lines))
        return (
            f"UserKnownHostsFile={known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            f"IdentityFile={self.root / key}",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
        )

    @property
    def host_key(self):
        return (self.root / "host.pub").read_text()

    def left(self):
        """What is left on the `device`: work directories, and processes in them."""
        files = sorted(path.name for path in self.tmp.iterdir())
        return files, [pid for pid in os.listdir("/proc") if pid.isdigit() and self._runs(pid)]

    def _runs(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/cwd").startswith(str(self.tmp))
        except OSError:
            return False

    def wait_until_clean(self, timeout_s=15):
        """Wait for the keeper to do its work; fails with what is left."""
        end = time.monotonic() + timeout_s
        while self.left() != ([], []) and time.monotonic() < end:
            time.sleep(0.05)
        assert self.left() == ([], [])

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.root)


def tool(name, package):
    """The path of a program, or the test is skipped with a line that says what is missing."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"NOT TESTED: needs {name} (Debian: {package})")
    return found


def start() -> Sshd:
    """Start the daemon in a directory of its own, which goes with `stop`."""
    keygen, sshd = tool("ssh-keygen", "openssh-client"), tool("sshd", "openssh-server")
    # Not one of pytest's, which it closes to all but its own user.
    root = Path(tempfile.mkdtemp(prefix="edgewright-sshd-"))
    for directory in (root, root / "tmp", root / "home", root / "small"):
        directory.mkdir(exist_ok=True)
    for name in ("host", "client", "stranger"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True
        )
    as_root = os.getuid() == 0
    user = "pi" if as_root else getpass.getuser()
    port = free_port()
    (root / "authorized_keys").write_text((root / "client.pub").read_text())
    (root / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nPidFile none\nUsePAM no\n"
        f"StrictModes no\nAuthorizedKeysFile {root}/authorized_keys\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxSessions 100\n"
    )
    daemon = [sshd, "-D", "-e", "-f", str(root / "sshd_config")]
    if as_root:
        daemon = _as_ordinary_user(root, daemon)
    log = (root / "log").open("wb")
    process = subprocess.Popen(daemon, stderr=log, stdin=subprocess.DEVNULL)
    log.close()
    made = Sshd(process, root, user, port)
    _wait_for(port, process, root / "log")
    return made


def _as_ordinary_user(root: Path, daemon: list[str]) -> list[str]:
    """The daemon as user `pi`, whom only its own /etc/passwd knows."""
    passwd = root / "passwd"
    passwd.write_text(f"root:x:0:0::/root:/bin/sh\npi:x:{UID}:{UID}::{root}/home:/bin/sh\n")
    for path in (root, *root.iterdir()):
        os.chown(path, UID, UID)
    script = "\n".join(
        [
            "set -e",
            f'mount --bind "{passwd}" /etc/passwd',
            f'mount -t tmpfs -o size={SMALL_BYTES},mode=1777 tmpfs "{root}/small"',
            *_show_this_python(root),
            'exec setpriv "$@"',
        ]
    )
    ids = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    unshare = [tool("unshare", "util-linux"), "-m"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED: root here may not make a mount namespace for sshd's user")
    return [*unshare, "sh", "-c", script, "sh", *ids, *daemon]


def _show_this_python(root):
    """Commands that let another user reach this Python where it lies in a closed home."""
    prefix = Path(sys.base_prefix)
    closed = [path for path in prefix.parents if not path.stat().st_mode & 1]
    if not closed:
        return []
    (root / "python").mkdir()
    return [
        f'mount --bind "{prefix}" "{root}/python"',
        f'mount -t tmpfs -o mode=755 tmpfs "{closed[-1]}"',
        f'mkdir -p "{prefix}"',
        f'mount --bind "{root}/python" "{prefix}"',
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port, process, log):
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    process.kill()
    pytest.fail(f"sshd did not start: {log.read_text()}")
