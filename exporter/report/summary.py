"""The figures of a build at a glance, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from exporter.build import Artifact, BenchRow, Frozen
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.readings import peak_bytes
from exporter.gate.text import printable
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE, Quantity
from exporter.gate.verdict import NOTHING

__all__ = [
    "SummaryRow",
    "build_rows",
    "is_float",
    "label",
    "precision_of",
    "representative",
    "runtime_of",
    "summary_rows",
    "summary_table",
]

# What the summary is about, in order; the other files of a build stand in its provenance.
_SHOWN: Final = (("onnx", "fp32"), ("tflite", "int8"), ("onnx", "int8"))
_FORMATS: Final = {"tflite": "TFLite", "onnx": "ONNX Runtime", "ort": "ONNX Runtime (.ort)"}


class SummaryRow(Frozen):
    """One shipped file; None where something was not measured.

    Attributes:
        label: precision and runtime, for people.
        artifact: its file name.
        accuracy: in [0, 1].
        drop_pt: the fp32 file's accuracy less this one's, in percentage points.
        file_bytes: the file's size.
        package_bytes: its package's size: the download.
        ratio: the fp32 file's bytes over the package's (over the file's where it has no package).
        p50_ms: the median time of one inference on `device`.
        p90_ms: nine of ten inferences take no longer.
        peak_memory_bytes: the most that the process held on `device`, the runtime included.
        device: where times and memory were measured.
        steady: whether that measurement is valid.
    """

    label: str
    artifact: str
    accuracy: float | None = None
    drop_pt: float | None = None
    file_bytes: int
    package_bytes: int | None = None
    ratio: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    peak_memory_bytes: int | None = None
    device: str = ""
    steady: bool = True


def summary_rows(directory: Path) -> tuple[SummaryRow, ...]:
    """The fp32 file and the two int8 files, those of them that were built.

    Raises:
        BuildError: manifest.json is missing, or a JSON file of the build is damaged.
    """
    return build_rows(Evidence(directory))


def build_rows(evidence: Evidence) -> tuple[SummaryRow, ...]:
    """`summary_rows` of a build that is open already."""
    artifacts = (evidence.manifest.artifact(form, precision) for form, precision in _SHOWN)
    return tuple(_row(evidence, artifact) for artifact in artifacts if artifact is not None)


def label(artifact: Artifact, precision: str = "int8") -> str:
    """A file in words, such as `int8 · TFLite`.

    Args:
        artifact: the file.
        precision: what its values are where its weights are int8: see `precision_of`.
    """
    own = precision if artifact.precision == "int8" else artifact.precision
    return f"{own} · {_FORMATS[artifact.format]}"


def precision_of(evidence: Evidence) -> str:
    """`int8`; `int16x8` where all values are int16, `int8 + int16` where those of some layers are.

    The certificate knows the last: a build without one is called by its manifest.
    """
    if evidence.manifest.activations == "int16":
        return "int16x8"
    certificate = evidence.certificate
    mixed = certificate is not None and certificate.int16_operators
    return "int8 + int16" if mixed else "int8"


def runtime_of(row_label: str) -> str:
    """The runtime that a label names."""
    return row_label.rpartition(" · ")[2]


def is_float(row_label: str) -> bool:
    """Whether a label is that of the float file, which the others are compared with."""
    return row_label.startswith("fp32")


def representative(evidence: Evidence, artifact: Artifact) -> BenchRow | None:
    """The measurement that stands for a file where there are several.

    On `local` rather than elsewhere, with the default delegate rather than without, valid rather
    than not, on the fewest threads.
    """
    return min(
        evidence.bench_rows(artifact),
        key=lambda row: (
            row.device != "local",
            artifact.format == "tflite" and row.delegate in ("", "none"),
            not row.valid,
            row.threads,
        ),
        default=None,
    )


def _row(evidence: Evidence, artifact: Artifact) -> SummaryRow:
    accuracy = next(iter(evidence.accuracy_rows(artifact)), None)
    bench = representative(evidence, artifact)
    package = artifact.package.bytes if artifact.package is not None else None
    reference = evidence.reference(artifact)
    return SummaryRow(
        label=label(artifact, precision_of(evidence)),
        artifact=file_name(artifact),
        accuracy=accuracy.accuracy if accuracy is not None else None,
        drop_pt=accuracy.drop_pt if accuracy is not None else None,
        file_bytes=artifact.bytes,
        package_bytes=package,
        ratio=_ratio(reference, package if package is not None else artifact.bytes),
        p50_ms=bench.p50_ms if bench is not None else None,
        p90_ms=bench.p90_ms if bench is not None else None,
        # 0 is what the device side writes where the system does not tell.
        peak_memory_bytes=(peak_bytes(bench) or None) if bench is not None else None,
        device=bench.device if bench is not None else "",
        steady=bench.valid if bench is not None else True,
    )


def _ratio(reference: Artifact | None, size_bytes: int) -> float | None:
    return reference.bytes / size_bytes if reference is not None and size_bytes else None


def shown(value: float | None, quantity: Quantity) -> str:
    """A value for people, a dash for one that was not measured."""
    return NOTHING if value is None else quantity.format(value)


def time_text(time_ms: float | None, *, steady: bool) -> str:
    """A time for people; `~` before one whose measurement is not valid."""
    return ("" if steady or time_ms is None else "~") + shown(time_ms, MILLISECONDS)


def summary_table(rows: Sequence[SummaryRow]) -> Table:
    """The rows as a table for a terminal, with units.

    A `~` before a time says that the measurement was not steady.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for name in ("accuracy", "drop", "file", "package", "ratio", "p50", "p90", "peak memory"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            Text(printable(row.label)),
            shown(row.accuracy, SHARE),
            shown(row.drop_pt, POINTS),
            shown(row.file_bytes, BYTES),
            shown(row.package_bytes, BYTES),
            shown(row.ratio, RATIO),
            time_text(row.p50_ms, steady=row.steady),
            time_text(row.p90_ms, steady=row.steady),
            shown(row.peak_memory_bytes, BYTES),
        )
    return table
