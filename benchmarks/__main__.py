"""Run the benchmarks one after another: `python -m benchmarks [--quick] [NAME ...]`.

Each runs in a process of its own; one that fails is named at the end and does not stop the others.
Results replace those in benchmarks/results, whole ones too; git has the old ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent


def main() -> None:
    """Run what is named, or everything; exit code 1 if one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("names", nargs="*", choices=[*scripts(), []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="the quick form of each")
    options = parser.parse_args()
    start = time.monotonic()
    failed = run(options.names or scripts(), quick=options.quick)
    print(f"== all: {(time.monotonic() - start) / 60:.1f} min")
    if options.quick:
        print(
            "Quick results lie in benchmarks/results; `git checkout benchmarks/results` undoes it."
        )
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def scripts(folder: Path = FOLDER) -> list[str]:
    """The names of the benchmarks: modules that can be run."""
    paths = (path for path in sorted(folder.glob("*.py")) if path.stem != "__main__")
    return [p.stem for p in paths if '__name__ == "__main__"' in p.read_text(encoding="utf-8")]


def run(names: Sequence[str], *, quick: bool, folder: Path = FOLDER) -> list[str]:
    """Run benchmarks in turn and return the names of those that failed."""
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        argv = [sys.executable, str(folder / f"{name}.py"), *(["--quick"] if quick else [])]
        if subprocess.run(argv, check=False).returncode != 0:
            failed.append(name)
        print(f"== {name}: {time.monotonic() - start:.0f} s\n", flush=True)
    return failed


if __name__ == "__main__":
    main()
