"""A Raspberry Pi for tests: the arm64 Debian root under qemu, with its own sshd on loopback."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "pi"
PYTHON = "/opt/runtimes/python"
OLD_PYTHON = "/opt/tflite-runtime/python"
START_TIMEOUT_S = 60
CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq"
# What a Pi's kernel tells and qemu does not: a governor that spoils measurements.
GOVERNED = {
    "scaling_governor": "powersave\n",
    "scaling_cur_freq": "600000\n",
    "scaling_max_freq": "1500000\n",
    "cpuinfo_max_freq": "1500000\n",
}


@dataclass
class Pi:
    process: subprocess.Popen
    folder: tempfile.TemporaryDirectory
    port: int

    @property
    def options(self):
        folder = self.folder.name
        return (
            f"UserKnownHostsFile={folder}/known_hosts",
            "GlobalKnownHostsFile=/dev/null",
            f"IdentityFile={folder}/client",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
        )

    @property
    def address(self):
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def start(enter, root, keygen, port) -> Pi:
    """Start the root's sshd; it listens on this machine's loopback."""
    folder = tempfile.TemporaryDirectory(prefix="edgewright-pi-")
    path = Path(folder.name)
    path.chmod(0o755)
    for name in ("host", "client"):
        made = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(path / name)]
        subprocess.run(made, check=True)
    (path / "authorized_keys").write_text((path / "client.pub").read_text())
    key = (path / "host.pub").read_text()
    (path / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
    (path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey /mnt/host\nPidFile none\nUsePAM no\n"
        "StrictModes no\nAuthorizedKeysFile /mnt/authorized_keys\nPasswordAuthentication no\n"
    )
    (path / "cpufreq").mkdir()
    for name, text in GOVERNED.items():
        (path / "cpufreq" / name).write_text(text)
    binds = {path: "/mnt", path / "cpufreq": CPUFREQ}
    argv = enter(root, ["/usr/sbin/sshd", "-D", "-e", "-f", "/mnt/sshd_config"], binds=binds)
    with (path / "log").open("wb") as log:
        process = subprocess.Popen(argv, stderr=log, stdout=log, stdin=subprocess.DEVNULL)
    end = time.monotonic() + START_TIMEOUT_S
    while "listening" not in (path / "log").read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"sshd did not start in the arm64 root: {(path / 'log').read_text()}")
        time.sleep(0.05)
    return Pi(process, folder, port)
