"""The base install: what it takes on disk besides numpy, and what `edgewright check` costs there.

A fresh virtual environment gets `pip install .` without extras; pip and setuptools, which every
environment has, are not counted. The build that is checked is made of files of the digits' sizes.
`check` runs on one thread, so its processor seconds are what an idle machine takes; `seconds` are
those of the clock here, where other work may have shared the processor.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.process import measure as measure_command
from benchmarks.results import ROOT, Value, arguments, publish
from exporter.build import MANIFEST, Artifact, Manifest, save_json

TIMES: Final = 9
QUICK_TIMES: Final = 3
INSTALL_TIMEOUT_S: Final = 600.0
NOT_OURS: Final = ("numpy", "pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")
LIMIT_BYTES: Final = 60_000_000
LIMIT_S: Final = 0.5

Row = dict[str, Value]


def main() -> None:
    """Install, weigh and time; print and write the table."""
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        rows = list(measure(Path(folder), QUICK_TIMES if options.quick else TIMES))
    publish("light", rows, options)


def measure(folder: Path, times: int) -> Iterator[Row]:
    """One row for the install, one for `check`."""
    python = install(folder / "venv")
    yield {
        "what": "installed, besides numpy",
        "installed_bytes": installed_bytes(folder / "venv"),
        "limit_bytes": LIMIT_BYTES,
    }
    build = write_build(folder / "build")
    budget = folder / "budget.toml"
    budget.write_text('[limits."*"]\nfile_bytes = "1 MB"\n', encoding="utf-8")
    argv: list[str | Path] = [python, "-m", "exporter.cli", "check", build, "--budget", budget]
    costs = [measure_command(argv, timeout_s=60.0, cwd=folder) for _ in range(times)]
    yield {
        "what": "edgewright check",
        "cpu_s": median(cost.cpu_s for cost in costs),
        "seconds": median(cost.wall_s for cost in costs),
        "limit_s": LIMIT_S,
        "peak_rss_mb": max(cost.peak_rss_bytes for cost in costs) / 1e6,
    }


def install(venv: Path) -> Path:
    """A fresh environment with this repository and no extra in it; gives its Python."""
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    argv: list[str | Path] = [python, "-m", "pip", "install", "--quiet", ROOT]
    measure_command(argv, timeout_s=INSTALL_TIMEOUT_S)
    return python


def installed_bytes(venv: Path) -> int:
    """The bytes of the environment's packages, without those of NOT_OURS."""
    (packages,) = venv.glob("lib/python*/site-packages")
    return sum(
        path.stat().st_size
        for entry in packages.iterdir()
        if entry.name.split("-")[0].split(".")[0] not in NOT_OURS
        for path in ([entry] if entry.is_file() else entry.rglob("*"))
        if path.is_file()
    )


def write_build(directory: Path) -> Path:
    """A build directory of two files, as large as the digits'."""
    directory.mkdir()
    artifacts = []
    for form, size in (("tflite", 92_768), ("onnx", 102_774)):
        name = f"digits.int8.{form}"
        data = name.encode() * (size // len(name))
        (directory / name).write_bytes(data)
        artifacts.append(
            Artifact.model_validate(
                {
                    "name": name,
                    "format": form,
                    "precision": "int8",
                    "path": name,
                    "bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "inputs": (),
                    "outputs": (),
                }
            )
        )
    manifest = Manifest(
        name="digits", created="", versions={}, source="", artifacts=tuple(artifacts)
    )
    save_json(directory / MANIFEST, manifest)
    return directory


if __name__ == "__main__":
    main()
