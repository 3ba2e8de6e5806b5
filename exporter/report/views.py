"""What the page shows, taken out of a build: points, runs and the few figures at its head."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.build import Artifact, BenchRow
from exporter.contents import RECIPE
from exporter.errors import BuildError
from exporter.gate.evidence import Evidence
from exporter.gate.readings import peak_bytes
from exporter.gate.units import BYTES, POINTS, RATIO, SHARE
from exporter.report.plots import Point, Run
from exporter.report.stages import stage_rows
from exporter.report.summary import (
    SummaryRow,
    is_float,
    label,
    representative,
    runtime_of,
    time_text,
)

__all__ = ["Device", "Figure", "devices", "figures", "points", "recipe", "runs", "timed_points"]

# Points closer than this are one: "drop 0.00 pt" reads better than "gain 0.00 pt".
_SAME_PT: Final = 0.005
_UNKNOWN: Final = "unknown"
_X86: Final = ("x86_64", "AMD64")
_ARM_FILE: Final = "int8 · ONNX Runtime (.ort)"


@dataclass(frozen=True)
class Figure:
    """One large number at the head of the page, with what it is."""

    value: str
    caption: str


@dataclass(frozen=True)
class Device:
    """One device that was measured.

    Attributes:
        name: as `bench.json` has it.
        runs: its measurements.
        state: what was known of it: name, value before, and after where that is another.
        unknown: what it did not tell.
        doubts: (measurements, what spoke against them) for those that are not valid.
    """

    name: str
    runs: tuple[Run, ...]
    state: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]
    doubts: tuple[tuple[tuple[str, ...], str], ...]

    @property
    def arm_files_on_x86(self) -> tuple[str, ...]:
        """Measurements here of int8 .ort files, whose kernels x86 lacks."""
        if dict(self.state).get("machine") not in _X86:
            return ()
        return tuple(run.name for run in self.runs if run.name.endswith(_ARM_FILE))


def figures(evidence: Evidence, rows: Sequence[SummaryRow]) -> tuple[Figure, ...]:
    """The numbers that a reader asks for first, for the smallest int8 download."""
    shipped = [row for row in rows if not is_float(row.label)]
    found: list[Figure] = []
    if shipped:
        best = min(shipped, key=_download)
        found += _size_figures(best)
        found += _accuracy_figures(best)
        found += _speed_figures(shipped)
    if evidence.certificate is not None:
        certificate = evidence.certificate
        value = "bit-identical" if certificate.verdict == "clean" else "they differ"
        if certificate.verdict != "clean" and certificate.within_lsb is not None:
            value = certificate.within
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
            name, colour = _short_label(artifact), _colour(artifact)
            found.append(Point(name, artifact.bytes, row.accuracy, "file", colour))
            if artifact.package is not None:
                size = artifact.package.bytes
                found.append(Point(name, size, row.accuracy, "package", colour))
    return tuple(found)


def timed_points(evidence: Evidence) -> tuple[Point, ...]:
    """Every file whose accuracy and time are known, and the stages that run as the fp32 files do.

    Those stand at the time of the first fp32 file that was measured.
    """
    found: list[Point] = []
    for artifact in evidence.manifest.artifacts:
        row = representative(evidence, artifact)
        accuracy = evidence.accuracy_rows(artifact)[:1]
        if row is not None and accuracy and math.isfinite(row.p50_ms):
            name, colour = _short_label(artifact), _colour(artifact)
            found.append(Point(name, row.p50_ms, accuracy[0].accuracy, "file", colour))
    for stage in stage_rows(evidence):
        times = [row.p50_ms for row in stage.times if row is not None and math.isfinite(row.p50_ms)]
        if stage.as_fp32 and stage.accuracy is not None and times:
            found.append(Point(stage.name, times[0], stage.accuracy, "stage", "stage"))
    return tuple(found)


def devices(evidence: Evidence) -> tuple[Device, ...]:
    """Every device that was measured, `local` first."""
    every = runs(evidence)
    names = dict.fromkeys(run.device for run in every)
    return tuple(
        _device(evidence, name, tuple(run for run in every if run.device == name))
        for name in sorted(names, key=lambda name: (name != "local", name))
    )


def _device(evidence: Evidence, name: str, its_runs: tuple[Run, ...]) -> Device:
    bench = evidence.bench
    before = {} if bench is None else bench.device_state.get(name, {})
    after = {} if bench is None else bench.device_state_after.get(name, {})
    state = {}
    for key, value in before.items():
        texts = dict.fromkeys((_state_text(key, value), _state_text(key, after.get(key, value))))
        state[key.removesuffix("_bytes")] = ", then ".join(texts)
    doubts: dict[str, list[str]] = {}
    for run in its_runs:
        if not run.steady and run.doubt:
            doubts.setdefault(run.doubt, []).append(run.name)
    return Device(
        name=name,
        runs=its_runs,
        state=tuple((key, text) for key, text in state.items() if text != _UNKNOWN),
        unknown=tuple(key for key, text in state.items() if text == _UNKNOWN),
        doubts=tuple((tuple(names), doubt) for doubt, names in doubts.items()),
    )


def recipe(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """What the recipe says, as `section.key` and value; empty where it was not kept."""
    path = evidence.directory / RECIPE
    if not path.exists():
        return ()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(
            f"{path} is damaged",
            expected="the recipe as JSON",
            found=str(error),
            remedy="build it again with this version of edgewright",
        ) from None
    return tuple(_flat("", document))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif value is not None:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _state_text(key: str, value: object) -> str:
    """A state's value in words; numbers without digits that were never measured."""
    if key.endswith("_bytes") and isinstance(value, int):
        return BYTES.format(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def runs(evidence: Evidence) -> tuple[Run, ...]:
    """Every measurement, in the order of the manifest's files."""
    return tuple(
        _run(artifact, row, evidence.bench_rows(artifact))
        for artifact in evidence.manifest.artifacts
        for row in evidence.bench_rows(artifact)
    )


def _run(artifact: Artifact, row: BenchRow, beside: Sequence[BenchRow]) -> Run:
    details = [label(artifact)]
    # Only what tells the measurements of one file on one device apart is worth its space.
    beside = [other for other in beside if other.device == row.device]
    if len({other.delegate for other in beside}) > 1:
        details.append("builtin kernels" if row.delegate in ("", "none") else row.delegate)
    if len({other.threads for other in beside}) > 1:
        details.append(f"{row.threads} threads")
    return Run(
        name=", ".join(details),
        device=row.device,
        colour=_colour(artifact),
        samples_ms=tuple(filter(math.isfinite, row.samples_ms)),
        p50_ms=row.p50_ms,
        p90_ms=row.p90_ms,
        p99_ms=row.p99_ms,
        before_bytes=row.memory_before_bytes,
        loaded_bytes=row.memory_loaded_bytes,
        peak_bytes=peak_bytes(row),
        steady=row.valid,
        doubt="; ".join(row.reasons or row.notes),
    )


def _short_label(artifact: Artifact) -> str:
    """A file's name beside its mark: what most marks are, int8, goes without saying."""
    return label(artifact).removeprefix("int8 · ").replace("ONNX Runtime (.ort)", ".ort")


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
    runtime = runtime_of(fastest.label)
    time = time_text(fastest.p50_ms, steady=fastest.steady)
    return [Figure(time, f"median time in {runtime} on {fastest.device}")]
