"""The document that every benchmark writes, and the table that it prints.

A script is

    def main() -> None:
        options = arguments(__doc__).parse_args()
        publish("NAME", measure(quick=options.quick), options)

and its rows are flat: the keys that design shares (`network, dataset, accuracy, accuracy_drop_pt,
stderr_pt, fp32_bytes, file_bytes, package_bytes, ratio, runtime, latency_ms_p50, latency_ratio,
peak_rss_mb, cpu_s, peer`), and others that end in their unit (`_ms`, `_s`, `_bytes`, `_mb`, `_pt`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import Machine, this_machine
from benchmarks.units import heading, shown
from exporter.build import Frozen, load_json, save_json

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "benchmarks" / "results"

# Packages whose versions decide what is measured; a script adds its peers'.
PACKAGES: Final = (
    "edgewright",
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "brotli",
)
CODE: Final = ("exporter", "devices", "runtimes", "examples", "benchmarks/*.py")

Value = str | int | float | bool | None


def _plain_name(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise ValueError("expected a name of letters, digits and '_'")
    return name


class Results(Frozen):
    """`benchmarks/results/NAME.json`.

    Attributes:
        schema_version: of this document.
        name: of the script.
        date: when it was measured, UTC, ISO 8601.
        commit: of the code that was measured; `+changed` behind it says that files differed.
        machine: the kind of machine.
        versions: of Python and of the packages that decide, by name.
        quick: whether it was a quick run: fewer repetitions, smaller inputs.
        rows: flat objects.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, AfterValidator(_plain_name)]
    date: str
    commit: str
    machine: Machine
    versions: dict[str, str]
    quick: bool
    rows: tuple[dict[str, Value], ...]


def arguments(description: str | None, *, more: bool = False) -> argparse.ArgumentParser:
    """The options that every script has: `--quick`, `--out DIR`; `--more` for `kept_rows`."""
    parser = argparse.ArgumentParser(
        description=(description or "").partition("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions and smaller inputs, for a look"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where NAME.json is written")
    if more:
        parser.add_argument("--more", action="store_true", help="add to the rows that are there")
    return parser


def kept_rows(name: str, options: argparse.Namespace) -> list[dict[str, Value]]:
    """What a script's results hold already, where `--more` asks to add to them; else nothing."""
    return list(load(name, options.out).rows) if options.more else []


def publish(
    name: str,
    rows: Iterable[Mapping[str, Value]],
    options: argparse.Namespace,
    *,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Print the rows as a table, write them as `OUT/NAME.json`, and return that path.

    Args:
        name: of the script and the file.
        rows: flat objects.
        options: as `arguments` parses them.
        versions: of peers that live in environments of their own, by name.
    """
    document = Results(
        name=name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine=this_machine(),
        versions=installed() | dict(versions or {}),
        quick=options.quick,
        rows=tuple(dict(row) for row in rows),
    )
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    save_json(path, document)
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=200)
    console.print(rich_table(document.rows))
    console.print(f"{'quick run; ' if document.quick else ''}{document.machine.sentence()}")
    console.print(f"written: {path}", soft_wrap=True, markup=False)
    return path


def load(name: str, folder: Path = RESULTS) -> Results:
    """Read the results of a script.

    Raises:
        BuildError: they are missing or damaged.
    """
    return load_json(folder / f"{name}.json", Results)


def columns(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """The keys of all rows, in the order in which they first come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def rich_table(rows: Sequence[Mapping[str, Value]]) -> Table:
    """The rows for a terminal; values with their units, numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    keys = columns(rows)
    for key in keys:
        texts = any(isinstance(row.get(key), str) for row in rows)
        table.add_column(Text(heading(key)), justify="left" if texts else "right")
    for row in rows:
        # `Text`, because rich would read markup in names that come out of files.
        table.add_row(*(Text(shown(key, row.get(key))) for key in keys))
    return table


def installed(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of those packages that are installed, by name."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # what is not installed was not measured
    return versions


def commit(root: Path = ROOT) -> str:
    """The commit of the code; `+changed` behind it where files differ; "unknown" without git."""
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return f"{head}+changed" if changes else head


def _git(root: Path, *words: str) -> str | None:
    argv = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
