"""Python environments that tests need beside their own, kept in .venvs/ at the root."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP_TIMEOUT_S = 300


def environment(name: str, *requirements: str, versions: tuple[str, ...]) -> str:
    """The Python of an environment with these packages; made once, and then used again.

    Skips the test where no Python of these versions is there, or pip cannot get the packages.
    """
    base = next((found for found in map(other_python, versions) if found is not None), None)
    if base is None:
        pytest.skip(f"NOT TESTED: needs Python {' or '.join(versions)}, and none is here")
    directory = ROOT / ".venvs" / name
    python, ready = directory / "bin" / "python", directory / "ready"
    wanted = "\n".join((base, *requirements))
    directory.parent.mkdir(exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist all come here
        if not (ready.is_file() and ready.read_text() == wanted and _starts(str(python))):
            shutil.rmtree(directory, ignore_errors=True)
            _make(base, directory, requirements)
            ready.write_text(wanted)
    return str(python)


def _make(base: str, directory: Path, requirements: tuple[str, ...]) -> None:
    for argv in (
        [base, "-m", "venv", str(directory)],
        [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements],
    ):
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"NOT TESTED: {argv} took over {PIP_TIMEOUT_S} s")
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: {argv} failed: {done.stderr.strip()[-300:]}")


def other_python(version: str) -> str | None:
    """A Python of this version that starts: this one, on PATH, or among pyenv's."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for candidate in candidates:
        if candidate is not None and _starts(candidate):
            return candidate
    return None


def _starts(python: str) -> bool:
    try:
        done = subprocess.run([python, "-c", ""], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
