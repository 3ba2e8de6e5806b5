"""Packages that were altered at random, sealed again so that the checks behind the CRCs are met.

Every one must be refused with a `PackageError`, or restore the whole original: what was altered was
then a name, or something that is skipped. Each run has its address space limited, so that a size
that lies cannot cost memory, and so is a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = Path(__file__).with_name("fuzz_packages.py")


def fuzz(seed, count, folder):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(seed), str(count), str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return tuple(map(int, done.stdout.split()))


linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="NOT TESTED: memory limits are Linux's"
)


@linux
@pytest.mark.parametrize("seed", range(2))
def test_20_000_altered_packages_are_refused_or_restore_the_original(seed, tmp_path):
    refused, restored = fuzz(seed, 10_000, tmp_path)
    assert refused + restored == 10_000
    assert refused > 8_000


@linux
@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(10, 14))
def test_many_more_altered_packages(seed, tmp_path):
    refused, restored = fuzz(seed, 20_000, tmp_path)
    assert refused + restored == 20_000
