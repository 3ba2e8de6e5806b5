"""Peers' Python environments: `.venvs/NAME`, made from `benchmarks/peers/NAME.txt` when needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.results import ROOT

PEERS: Final = ROOT / "benchmarks" / "peers"
ENVIRONMENTS: Final = ROOT / ".venvs"
TIMEOUT_S: Final = 1800.0


@cache
def python_of(name: str) -> Path | None:
    """The Python of an environment, made if it is not here; None, with a line on stderr, if not.

    In the list of its packages, a line `# python: 3.12` asks for that Python, and one
    `# pip: --no-deps` is an option of pip.
    """
    python = ENVIRONMENTS / name / "bin" / "python"
    ready = ENVIRONMENTS / name / ".ready"
    if ready.exists():
        return python
    shutil.rmtree(ENVIRONMENTS / name, ignore_errors=True)  # what an interrupted run has left
    packages = PEERS / f"{name}.txt"
    text = packages.read_text(encoding="utf-8")
    asked = re.search(r"^# python: (\S+)$", text, re.MULTILINE)
    wishes = re.findall(r"^# pip: (\S+)$", text, re.MULTILINE)
    base = sys.executable if asked is None else shutil.which(f"python{asked[1]}")
    if base is None:
        print(f"SKIPPED {name}: there is no python{asked and asked[1]}", file=sys.stderr)
        return None
    try:
        for argv in (
            [base, "-m", "venv", str(python.parent.parent)],
            [str(python), "-m", "pip", "install", "-q", *wishes, "-r", str(packages)],
        ):
            subprocess.run(argv, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(python.parent.parent, ignore_errors=True)
        said = getattr(error, "stderr", None) or str(error)
        print(f"SKIPPED {name}: {said.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    ready.touch()
    return python


def versions_of(name: str) -> dict[str, str]:
    """The pinned versions of an environment, by package."""
    text = (PEERS / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)$", text, re.MULTILINE))
