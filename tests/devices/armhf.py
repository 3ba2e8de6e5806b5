"""A 32-bit Raspberry Pi OS for tests: Debian's armhf Python and numpy with tflite-runtime 2.14.

Made once and kept in .venvs/ at the root. One process runs in it, under qemu's user mode, in a view
that has a Pi's /proc and /sys (see exporter/verify/arm64_root.py, which does the same for arm64).
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from exporter.verify.arm64_root import make_view
from exporter.verify.boards import PI_3

CACHE = Path(__file__).resolve().parents[2] / ".venvs"
WHEEL = "tflite-runtime==2.14.0"
NAME = "armhf-tflite-runtime-2.14.0"
CPU = "cortex-a7"  # what the oldest boards with ARMv7 and NEON have
LIBRARIES = "usr/lib/arm-linux-gnueabihf"
TIMEOUT_S = 600


def make_root() -> Path:
    """The root; skips the test, saying why, where it cannot be made."""
    programs = ("mmdebstrap", "tar", "qemu-arm-static")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        packages = "apt: mmdebstrap, qemu-user-static"
        pytest.skip(f"NOT TESTED: an armhf root needs {', '.join(missing)} ({packages})")
    root = CACHE / NAME
    CACHE.mkdir(exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist all come here
        if not root.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f".{NAME}.", dir=CACHE))
            try:
                _fill(scratch)
                scratch.rename(root)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return root


def _fill(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        archive = str(Path(folder, "root.tar"))
        options = ["--variant=extract", "--arch=armhf", "--skip=check/qemu", "--quiet"]
        # Nothing here faces a network: the suite as released is enough, and steadier.
        options.append('--setup-hook=sed -i "/security/d" "$1/etc/apt/sources.list"')
        include = "--include=python3,python3-numpy,libstdc++6"
        _call("mmdebstrap", *options, include, "bookworm", archive)
        _call("tar", "-xf", archive, "-C", str(root), "--exclude=./dev/*")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    platform = ["--platform=manylinux_2_34_armv7l", "--python-version=3.11"]
    _call(*pip, *platform, "--target", str(root / "opt/tflite-runtime"), WHEEL)


def _call(program: str, *arguments: str) -> None:
    argv = [shutil.which(program) or program, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"NOT TESTED: an armhf root cannot be made: {done.stderr.strip()[-300:]}")


def python(root: Path, folder: Path) -> Path:
    """A program that runs the root's Python on the board, in a view made in an empty folder."""
    view = folder / "view"
    view.mkdir()
    make_view(root, PI_3, view)
    libraries = view / LIBRARIES
    settings = {
        "PYTHONPATH": view / "opt/tflite-runtime",
        # Debian's alternatives, which only maintainer scripts would link.
        "LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack",
    }
    variables = " ".join(f"-E {name}={value}" for name, value in settings.items())
    program = folder / "python"
    program.write_text(
        f"#!/bin/sh\nexec {shutil.which('qemu-arm-static')} -cpu {CPU} -L {view} {variables} "
        f'{view}/usr/bin/python3.11 "$@"\n'
    )
    program.chmod(0o755)
    return program
