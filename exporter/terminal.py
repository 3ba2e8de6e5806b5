"""What commands print for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from exporter.build import REPORT, Bench, BenchRow, Certificate, save_json
from exporter.gate.table import render
from exporter.report.summary import summary_rows, summary_table

if TYPE_CHECKING:
    from exporter.pipeline import Built
    from runtimes.report import Measurement


def console() -> Console:
    """The terminal; wide enough for the tables where there is none."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=120)


def print_built(built: Built) -> None:
    """The summary, the budget's verdict, and where the report lies."""
    out = console()
    out.print(summary_table(summary_rows(built.directory)))
    if built.verdict is not None:
        out.print(render(built.verdict))
    out.print(f"report: {built.directory / REPORT}", soft_wrap=True)


def print_certificate(certificate: Certificate) -> None:
    """The checks, the hashes, and the verdict."""
    out = console()
    for entry in certificate.checks:
        out.print(f"{'✓' if entry.passed else '✗'} {entry.name}: {entry.detail}", soft_wrap=True)
    table = Table(box=None, title=f"outputs over {certificate.samples} golden inputs")
    for column in ("file", "runtime", "sha256", "differing", "max LSB"):
        table.add_column(column)
    for row in certificate.outputs:
        differing = f"{row.differing} of {row.values}" + ("" if row.decides else " (not decisive)")
        table.add_row(row.artifact, row.runtime, row.sha256[:12], differing, str(row.max_lsb))
    out.print(table)
    out.print(f"verdict: {certificate.verdict}")


def print_bench(rows: Sequence[Measurement]) -> None:
    """One line a file."""
    table = Table(box=None)
    for column in ("file", "runtime", "load ms", "p50 ms", "p90 ms", "p99 ms", "peak MB", "valid"):
        table.add_column(column, justify="left" if column in ("file", "runtime") else "right")
    for row in rows:
        times = (row.load_ms, row.p50_ms, row.p90_ms, row.p99_ms)
        table.add_row(
            row.artifact,
            f"{row.runtime} ({row.delegate})",
            *(f"{time:.3f}" for time in times),
            f"{row.peak_inference_bytes / 1e6:.1f}",
            "yes" if row.valid else "; ".join(row.notes[:1]) or "no",
        )
    console().print(table)


def save_bench(path: Path, rows: Sequence[Measurement]) -> None:
    """Write rows as bench.json has them."""
    document = Bench(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(BenchRow(**dataclasses.asdict(row)) for row in rows),
    )
    save_json(path, document)
