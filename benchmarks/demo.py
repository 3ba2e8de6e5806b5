"""The demo of `make demo`: accuracy, size, speed and memory of its files, and what a run costs.

Runs examples/digits/recipe.toml from nothing (or takes a finished build with --build) and writes
the rows of the table that the demo ends with; --quick changes nothing, since the demo is short. A
row without a runtime is the whole run: seconds, processor seconds, those of all other programs
meanwhile, and peak memory, all processes together (memory: the largest of them). Times of a row
that is not `steady` were disturbed. `stderr_pt` is the standard error of the accuracy,
sqrt(p (1 - p) / n), in percentage points.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.process import CommandError, Cost, measure
from benchmarks.results import ROOT, Value, arguments, publish
from exporter.build import ACCURACY, Accuracy, Artifact, load_json
from exporter.gate.evidence import Evidence, file_name
from exporter.report.summary import SummaryRow, build_rows

EXAMPLE: Final = ROOT / "examples" / "digits"
NETWORK: Final = "ResNet-8"
TIMEOUT_S: Final = 3600.0

Row = dict[str, Value]


def main() -> None:
    """Run the demo, or take a build of it; print and write its table."""
    parser = arguments(__doc__)
    parser.add_argument("--build", type=Path, help="a finished build of the demo: nothing is run")
    options = parser.parse_args()
    if options.build is not None:
        rows = table_rows(options.build)
    else:
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            rows = run_rows(EXAMPLE / "recipe.toml", Path(folder) / "digits")
    publish("demo", rows, options)


def run_rows(recipe: Path, build: Path) -> list[Row]:
    """The rows of a run from nothing into the directory `build`.

    Raises:
        CommandError: the run failed.
    """
    cost = run_recipe(recipe, build)
    return [*table_rows(build), cost_row(cost)]


def run_recipe(recipe: Path, build: Path) -> Cost:
    """Run the command line on a recipe; a budget that says no is no failure.

    Raises:
        CommandError: it failed otherwise.
    """
    argv: list[str | Path] = [sys.executable, "-m", "exporter.cli", "run", recipe, "--out", build]
    cost = measure(argv, timeout_s=TIMEOUT_S, cwd=ROOT, check=False)
    if cost.returncode not in (0, 1):
        raise CommandError("the demo failed", found=cost.stderr[-2000:])
    return cost


def table_rows(build: Path) -> list[Row]:
    """The rows of the table with which a run ends.

    Raises:
        BuildError: the build is not finished.
    """
    samples = load_json(build / ACCURACY, Accuracy).samples
    evidence = Evidence(build)
    rows = build_rows(evidence)
    artifacts = {file_name(artifact): artifact for artifact in evidence.manifest.artifacts}
    fp32 = next(row for row in rows if row.label.startswith("fp32"))
    return [_row(row, fp32, evidence.reference(artifacts[row.artifact]), samples) for row in rows]


def cost_row(cost: Cost) -> Row:
    """The row of the whole run."""
    return {
        "network": NETWORK,
        "wall_s": round(cost.wall_s, 1),
        "cpu_s": round(cost.cpu_s, 1),
        "others_cpu_s": None if cost.others_cpu_s is None else round(cost.others_cpu_s, 1),
        "peak_rss_mb": round(cost.peak_rss_bytes / 1e6, 1),
    }


def _row(row: SummaryRow, fp32: SummaryRow, reference: Artifact | None, samples: int) -> Row:
    """A row; `fp32` is what times are compared with, `reference` (of its format) what bytes are."""
    precision, _, runtime = row.label.partition(" · ")
    share = row.accuracy
    return {
        "network": NETWORK,
        "dataset": f"MNIST, {samples:,} held-out digits",
        "precision": precision,
        "runtime": runtime,
        "accuracy": share,
        "accuracy_drop_pt": row.drop_pt,
        "stderr_pt": None if share is None else 100 * math.sqrt(share * (1 - share) / samples),
        "fp32_bytes": None if reference is None else reference.bytes,
        "file_bytes": row.file_bytes,
        "package_bytes": row.package_bytes,
        "ratio": row.ratio,
        "latency_ms_p50": row.p50_ms,
        "latency_ms_p90": row.p90_ms,
        "steady": row.steady,
        "latency_ratio": _over(row.p50_ms, fp32.p50_ms),
        "peak_rss_mb": None if row.peak_memory_bytes is None else row.peak_memory_bytes / 1e6,
    }


def _over(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None


if __name__ == "__main__":
    main()
