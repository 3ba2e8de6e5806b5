"""What the page shows, taken out of a build: points, runs and the few figures at its head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exporter.build import Artifact, BenchRow
from exporter.gate.evidence import Evidence
from exporter.gate.readings import peak_bytes
from exporter.gate.units import BYTES, POINTS, RATIO, SHARE
from exporter.report.plots import Point, Run
from exporter.report.summary import SummaryRow, label, time_text

__all__ = ["Figure", "figures", "points", "runs"]

# Points closer than this are one: "drop 0.00 pt" reads better than "gain 0.00 pt".
_SAME_PT: Final = 0.005


@dataclass(frozen=True)
class Figure:
    """One large number at the head of the page, with what it is."""

    value: str
    caption: str


def figures(evidence: Evidence, rows: Sequence[SummaryRow]) -> tuple[Figure, ...]:
    """The numbers that a reader asks for first, for the smallest int8 download."""
    shipped = [row for row in rows if row.label.startswith("int8")]
    found: list[Figure] = []
    if shipped:
        best = min(shipped, key=_download)
        found += _size_figures(best)
        found += _accuracy_figures(best)
        found += _speed_figures(shipped)
    if evidence.certificate is not None:
        clean = evidence.certificate.verdict == "clean"
        value = "bit-identical" if clean else "they differ"
        found.append(Figure(value, "outputs of the int8 files in their runtimes"))
    return tuple(found)


def points(evidence: Evidence) -> tuple[Point, ...]:
    """Every stage, every file whose accuracy is known, and its package."""
    found: list[Point] = []
    if evidence.accuracy is not None:
        found += [
            Point(stage.stage, stage.weight_bytes, stage.accuracy, "stage", "stage")
            for stage in evidence.accuracy.stages
        ]
    for artifact in evidence.manifest.artifacts:
        for row in evidence.accuracy_rows(artifact)[:1]:
            name, colour = label(artifact).removeprefix("int8 · "), _colour(artifact)
            found.append(Point(name, artifact.bytes, row.accuracy, "file", colour))
            if artifact.package is not None:
                size = artifact.package.bytes
                found.append(Point(name, size, row.accuracy, "package", colour))
    return tuple(found)


def runs(evidence: Evidence) -> tuple[Run, ...]:
    """Every measurement, in the order of the manifest's files."""
    return tuple(
        _run(artifact, row, evidence.bench_rows(artifact))
        for artifact in evidence.manifest.artifacts
        for row in evidence.bench_rows(artifact)
    )


def _run(artifact: Artifact, row: BenchRow, beside: Sequence[BenchRow]) -> Run:
    details = [label(artifact)]
    # Only what tells the measurements of one file apart is worth its space.
    if len({other.device for other in beside}) > 1 or row.device != "local":
        details.append(row.device)
    if len({other.delegate for other in beside}) > 1:
        details.append("builtin kernels" if row.delegate in ("", "none") else row.delegate)
    if len({other.threads for other in beside}) > 1:
        details.append(f"{row.threads} threads")
    return Run(
        name=", ".join(details),
        colour=_colour(artifact),
        samples_ms=tuple(filter(math.isfinite, row.samples_ms)),
        p50_ms=row.p50_ms,
        p90_ms=row.p90_ms,
        p99_ms=row.p99_ms,
        before_bytes=row.memory_before_bytes,
        loaded_bytes=row.memory_loaded_bytes,
        peak_bytes=peak_bytes(row),
        steady=row.valid,
    )


def _colour(artifact: Artifact) -> str:
    return "fp32" if artifact.precision == "fp32" else artifact.format


def _download(row: SummaryRow) -> int:
    return row.package_bytes if row.package_bytes is not None else row.file_bytes


def _size_figures(best: SummaryRow) -> list[Figure]:
    what = "download" if best.package_bytes is not None else "file"
    ratio = f", {RATIO.format(best.ratio)} smaller than fp32" if best.ratio is not None else ""
    return [Figure(BYTES.format(_download(best)), f"{what}{ratio}")]


def _accuracy_figures(best: SummaryRow) -> list[Figure]:
    if best.accuracy is None or best.drop_pt is None:
        return []
    drop = best.drop_pt
    if abs(drop) < _SAME_PT:
        change = "the same as fp32"
    else:
        change = f"{POINTS.format(abs(drop))} {'below' if drop > 0 else 'above'} fp32"
    return [Figure(SHARE.format(best.accuracy), f"accuracy, {change}")]


def _speed_figures(shipped: Sequence[SummaryRow]) -> list[Figure]:
    timed = [row for row in shipped if row.p50_ms is not None]
    if not timed:
        return []
    fastest = min(timed, key=lambda row: row.p50_ms or 0.0)
    runtime = fastest.label.removeprefix("int8 · ")
    time = time_text(fastest.p50_ms, steady=fastest.steady)
    return [Figure(time, f"median time in {runtime} on {fastest.device}")]
