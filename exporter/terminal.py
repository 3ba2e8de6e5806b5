"""What commands print for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from exporter.build import REPORT, Certificate, CpuComparison
from exporter.gate.table import render
from exporter.report.summary import summary_rows, summary_table

if TYPE_CHECKING:
    from exporter.pipeline import Built
    from exporter.verify.layers import Difference, LayerError


def console(*, stderr: bool = False) -> Console:
    """The terminal; wide enough for the tables where there is none.

    It reads no markup and no :emoji:, as names out of models may hold brackets and colons.
    """
    plain = Console(stderr=stderr, markup=False, emoji=False)
    if plain.is_terminal:
        return plain
    return Console(width=120, stderr=stderr, markup=False, emoji=False)


def print_built(built: Built) -> None:
    """The summary, the budget's and the certificate's verdict, and where the report lies."""
    out = console()
    out.print(summary_table(summary_rows(built.directory)))
    if built.verdict is not None:
        out.print(render(built.verdict))
    certificate = built.certificate
    how = "" if certificate.holds else f"; `edgewright verify {built.directory}` says where"
    out.print(f"certificate: {certificate.summary}{how}", soft_wrap=True)
    out.print(f"report: {built.directory / REPORT}", soft_wrap=True)


def print_layers(rows: Sequence[LayerError]) -> None:
    """One line an operator, worst SQNR first."""
    table = Table(box=None, title="int8 against fp32, layer by layer, worst first")
    for column in ("layer", "operator"):
        table.add_column(column)
    for column in ("SQNR dB", "TFLite differs", "ONNX Runtime differs"):
        table.add_column(column, justify="right")
    for row in rows:
        sqnr = "-" if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
        table.add_row(row.layer, row.kind, sqnr, _apart(row.tflite), _apart(row.onnx))
    console().print(table)


def _apart(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    if difference.differing == 0:
        return "0"
    return f"{difference.differing} of {difference.values}, by up to {difference.max_lsb}"


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
    if certificate.cpus:
        _print_cpus(out, certificate.cpus)
    out.print(f"verdict: {_verdict(certificate)}", soft_wrap=True)


def _verdict(certificate: Certificate) -> str:
    """In words; of what was asked for and did not run, nothing is said to be clean."""
    missing = dict.fromkeys(row.cpu for row in certificate.cpus if row.not_run)
    if not missing:
        return certificate.summary
    unverified = f"not verified on {', '.join(missing)}"
    clean = certificate.verdict == "clean"
    return unverified if clean else f"{certificate.summary}; {unverified}"


def _print_cpus(out: Console, rows: Sequence[CpuComparison]) -> None:
    """A line a file on an emulated CPU, and the reason for each CPU where one did not run."""
    table = Table(box=None, title=f"on emulated CPUs over {rows[0].samples} golden inputs")
    for column in ("CPU", "", "file", "runtime", "sha256", "differing", "max LSB"):
        table.add_column(column)
    for row in rows:
        figures = (
            (row.sha256[:12], f"{row.differing} of {row.values}", str(row.max_lsb))
            if row.sha256 is not None
            else ("NOT RUN", "", "")
        )
        table.add_row(row.cpu, row.features, row.artifact, row.runtime, *figures)
    out.print(table)
    for cpu, reason in {row.cpu: row.not_run for row in rows if row.not_run}.items():
        out.print(f"NOT RUN on {cpu}: {reason}", soft_wrap=True)
