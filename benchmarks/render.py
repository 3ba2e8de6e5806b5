"""Results as Markdown: what cog puts into README.md and benchmarks/RESULTS.md."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.condense import CONDENSED
from benchmarks.results import RESULTS, Results, Value, columns, load
from benchmarks.units import heading, shown

DEMO_COLUMNS: Final = (
    "precision",
    "runtime",
    "accuracy",
    "accuracy_drop_pt",
    "file_bytes",
    "package_bytes",
    "ratio",
    "latency_ms_p50",
    "latency_ms_p90",
    "peak_rss_mb",
)

PTQ_COLUMNS: Final = (
    "method",
    "kl",
    "sqnr_db",
    "tflite_sqnr_db",
    "agreement",
    "latency_ms_p50",
    "tflite_latency_ms_p50",
    "total_cpu_s",
    "peak_rss_mb",
)
PEERS_COLUMNS: Final = (
    "method",
    "kl",
    "agreement",
    "latency_ms_p50",
    "file_bytes",
    "total_cpu_s",
    "peak_rss_mb",
)
BESIDE_PEERS: Final = (
    "edgewright, min/max alone",
    "edgewright, equalized, biases corrected",
    "edgewright, best",
)
COMPRESSION_COLUMNS: Final = (
    "network",
    "seed",
    "epochs",
    "method",
    "accuracy",
    "accuracy_drop_pt",
    "stderr_pt",
    "sparsity",
    "file_bytes",
    "package_bytes",
    "ratio",
    "source_mb",
    "source_drop_pt",
)

Rows = Sequence[Mapping[str, Value]]


def markdown_table(rows: Rows, keys: Sequence[str] | None = None) -> str:
    """A Markdown table.

    Args:
        rows: flat objects.
        keys: the columns; all keys, in the order in which they first come, by default.
    """
    chosen = list(keys) if keys is not None else columns(rows)
    lines = [_line([heading(key) for key in chosen])]
    lines.append(_line(["---" if _is_text(rows, key) else "--:" for key in chosen]))
    lines += [_line([shown(key, row.get(key)) for key in chosen]) for row in rows]
    return "\n".join(lines)


def provenance(results: Results) -> str:
    """Where and when results were measured, in one sentence."""
    versions = results.versions
    named = ("onnxruntime", "ai-edge-litert", "torch")
    packages = ", ".join(f"{name} {versions[name]}" for name in named if name in versions)
    quick = "A quick run, measured" if results.quick else "Measured"
    commit, changed, _ = results.commit.partition("+")
    code = f"commit {commit[:10]}{' with changes' if changed else ''}"
    return f"{quick} on {results.machine.sentence()}; {packages}; {code}, {results.date[:10]}."


def demo_table(folder: Path = RESULTS) -> str:
    """The table of `make demo`, and what the whole run took."""
    results = load("demo", folder)
    files = [row for row in results.rows if row.get("runtime")]
    run = next((row for row in results.rows if not row.get("runtime")), None)
    parts = [f"{files[0]['network']} on {files[0]['dataset']}; ratio: fp32 file over package."]
    if not all(row.get("steady", True) for row in files):
        parts.append("Other programs disturbed the times.")
    if run is not None:
        parts.append(_run_sentence(run))
    table = markdown_table(files, DEMO_COLUMNS)
    return f"{table}\n\n{' '.join([*parts, provenance(results)])}"


def _run_sentence(run: Mapping[str, Value]) -> str:
    wall, cpu = shown("wall_s", run["wall_s"]), shown("cpu_s", run["cpu_s"])
    others = run.get("others_cpu_s")
    beside = "; what other programs took meanwhile is not known"
    if others is not None:
        beside = f"; other programs took {shown('cpu_s', others)} meanwhile"
    return f"The whole run took {wall}, {cpu} of processor time{beside}."


def ptq_table(folder: Path = RESULTS) -> str:
    """Post-training quantization beside the peers', and where it was measured."""
    results = load("ptq", folder)
    table = markdown_table(results.rows, PTQ_COLUMNS)
    return f"{table}\n\n{provenance(results)}"


def peers_table(folder: Path = RESULTS) -> str:
    """Post-training quantization beside the peers', in few columns; peers may win some of them."""
    results = load("ptq", folder)
    rows = [row for row in results.rows if row["method"] in BESIDE_PEERS or row.get("peer")]
    return f"{markdown_table(rows, PEERS_COLUMNS)}\n\n{provenance(results)}"


def compression_table(folder: Path = RESULTS) -> str:
    """What compression costs, and where it was measured."""
    results = load("compression", folder)
    keys = [key for key in COMPRESSION_COLUMNS if any(key in row for row in results.rows)]
    table = markdown_table(results.rows, keys)
    places = sorted(map(_place, results.rows))
    return f"{table}\n\n{' '.join(dict.fromkeys(places))} The last run: {provenance(results)}"


def _place(row: Mapping[str, Value]) -> str:
    """What a row's network was trained on, where and when."""
    return f"{row['network']}: {row['dataset']}; {row['machine']}, {row['date']}."


def page(folder: Path = RESULTS) -> str:
    """Every result of a folder: what it asks, its tables, and where it was measured."""
    sections = []
    for path in sorted(folder.glob("*.json")):
        results = load(path.stem, folder)
        rows = CONDENSED.get(results.name, list)(results.rows)
        parts = [f"## {results.name}", *claim(results.name)]
        parts += [markdown_table(alike) for alike in by_shape(rows)]
        sections.append("\n\n".join([*parts, provenance(results)]))
    return "\n\n".join(sections)


def claim(name: str) -> list[str]:
    """The first line of a benchmark's own account; nothing for results without a script."""
    script = Path(__file__).with_name(f"{name}.py")
    if not script.exists():
        return []
    account = ast.get_docstring(ast.parse(script.read_text()))
    return [account.splitlines()[0]] if account else []


def by_shape(rows: Rows) -> list[Rows]:
    """Rows with the same keys together: one table each."""
    shapes: dict[frozenset[str], list[Mapping[str, Value]]] = {}
    for row in rows:
        shapes.setdefault(frozenset(row), []).append(row)
    return list(shapes.values())


def _is_text(rows: Rows, key: str) -> bool:
    return any(isinstance(row.get(key), str) for row in rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
