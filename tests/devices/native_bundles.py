"""The native runner's bundles that the tests share, kept in .venvs/ at the root."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

import pytest

from devices.build_runner import SOURCES, TARGETS, build_runner
from devices.bundle import load_bundle
from devices.errors import DeviceError

CACHE = Path(__file__).resolve().parents[2] / ".venvs"


def bundle(target):
    """The bundle for a target; skips the test, saying why, where it cannot be built."""
    digest = hashlib.sha256(repr(TARGETS[target]).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    directory = CACHE / f"runner-{target}-{digest.hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist all come here
        if not directory.exists():
            try:
                build_runner(target, directory)
            except DeviceError as error:
                pytest.skip(f"NOT TESTED: {' '.join(str(error).split())[:300]}")
    return load_bundle(directory)
