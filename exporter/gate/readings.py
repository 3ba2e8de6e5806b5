"""What was measured of an artifact, or why it was not and how to get it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from exporter.build import Artifact, BenchRow, Certificate
from exporter.errors import PackageError
from exporter.gate.evidence import Evidence, file_name

__all__ = [
    "Reading",
    "accuracy",
    "accuracy_drop",
    "agreement",
    "arena",
    "certified",
    "compression_ratio",
    "delta_bytes",
    "file_bytes",
    "package_bytes",
    "peak_bytes",
    "peak_memory",
    "pss",
    "slowest",
    "unmeasured",
]


@dataclass(frozen=True)
class Reading:
    """A measured value and where it comes from; or no value, why, and how to get one."""

    value: float | None
    source: str = ""
    reason: str = ""
    remedy: str = ""


def unmeasured(reason: str, remedy: str) -> Reading:
    """A reading without a value."""
    return Reading(None, reason=reason, remedy=remedy)


def file_bytes(evidence: Evidence, artifact: Artifact) -> Reading:
    """The size of the shipped file on disk, in bytes."""
    size = evidence.bytes_on_disk(artifact)
    if size is None:
        return unmeasured("the file is missing", "build it again")
    return Reading(size)


def package_bytes(evidence: Evidence, artifact: Artifact) -> Reading:
    """The size of its package on disk, in bytes: what a device downloads."""
    pack = f"run `edgewright pack` on {file_name(artifact)}, or `edgewright run`, which packs"
    if artifact.package is None:
        return unmeasured("there is no package of this file", pack)
    size = evidence.bytes_on_disk(artifact.package)
    if size is None:
        return unmeasured(f"the package {artifact.package.path} is missing", pack)
    return Reading(size)


def delta_bytes(evidence: Evidence, artifact: Artifact) -> Reading:
    """The size of the delta package beside the file, in bytes: the update's download.

    The largest, where there are deltas from several releases. Its name is the file's with
    `.delta.ewp` behind, or `.from-VERSION.delta.ewp`.
    """
    path = evidence.directory / artifact.path
    found = sorted(path.parent.glob(f"{escape(path.name)}*.delta.ewp"))
    if not found:
        return unmeasured(
            "there is no delta package of this file",
            f"run `edgewright pack {path.name} --base OLD -o {path.name}.delta.ewp`",
        )
    largest = max(found, key=lambda delta: delta.stat().st_size)
    trouble = _no_delta_of(largest, artifact)
    if trouble:
        return unmeasured(f"{largest.name}: {trouble}", "pack the delta again")
    return Reading(largest.stat().st_size, source=f"in {largest.name}")


def _no_delta_of(path: Path, artifact: Artifact) -> str:
    """Why a package is no update to this build's file; "" when it is one."""
    from runtimes.container import read

    try:
        package = read(path.read_bytes())
    except PackageError as error:
        return str(error).splitlines()[0]
    if package.base is None:
        return "it is a whole package, which builds on no file before"
    if package.sha256.hex() != artifact.sha256.lower():
        return "it restores another file than this one"
    return ""


def compression_ratio(evidence: Evidence, artifact: Artifact) -> Reading:
    """The fp32 file's bytes over the package's: how many times smaller the download is."""
    reference = evidence.reference(artifact)
    if reference is None:
        return unmeasured(
            "there is no fp32 file to compare with", "build the fp32 .onnx beside the int8 files"
        )
    # An altered reference would move the ratio without any line of its own to say so.
    alteration = evidence.alteration(reference)
    if alteration:
        return unmeasured(f"the fp32 file {reference.path}: {alteration}", "build it again")
    package = package_bytes(evidence, artifact)
    if not package.value:
        return (
            package if package.value is None else unmeasured("the package is empty", "pack again")
        )
    return Reading(reference.bytes / package.value, source=f"from {file_name(reference)}")


def accuracy(evidence: Evidence, artifact: Artifact) -> Reading:
    """The lowest accuracy over the runtimes it was measured in, in [0, 1]."""
    rows = evidence.accuracy_rows(artifact)
    if not rows:
        return _no_accuracy(evidence)
    worst = min(rows, key=lambda row: row.accuracy)
    return Reading(worst.accuracy, source=f"in {worst.runtime}")


def accuracy_drop(evidence: Evidence, artifact: Artifact) -> Reading:
    """The largest drop from fp32 over the runtimes, in percentage points."""
    rows = evidence.accuracy_rows(artifact)
    if not rows:
        return _no_accuracy(evidence)
    worst = max(rows, key=lambda row: row.drop_pt)
    return Reading(worst.drop_pt, source=f"in {worst.runtime}")


def agreement(evidence: Evidence, artifact: Artifact) -> Reading:
    """The lowest share of samples, over the runtimes, on which fp32 names the same class."""
    rows = evidence.accuracy_rows(artifact)
    if not rows:
        return _no_accuracy(evidence)
    shares = [(row.agreement, row.runtime) for row in rows if row.agreement is not None]
    if not shares:
        return unmeasured(
            "the recipe has a score of its own, so no classes were compared",
            "limit accuracy or accuracy_drop instead",
        )
    worst, runtime = min(shares)
    return Reading(worst, source=f"in {runtime}")


def _no_accuracy(evidence: Evidence) -> Reading:
    reason = (
        "accuracy was not measured: there is no accuracy.json"
        if evidence.accuracy is None
        else "accuracy.json has no row for this file"
    )
    return unmeasured(reason, "run `edgewright run` with a recipe that names evaluation data")


def peak_memory(evidence: Evidence, artifact: Artifact) -> Reading:
    """The largest peak over every device and runtime, in bytes, the runtime's own included."""
    rows = evidence.bench_rows(artifact)
    if not rows:
        return _no_bench(evidence)
    worst = max(rows, key=peak_bytes)
    if peak_bytes(worst) == 0:  # what the device side writes where the system does not tell
        return unmeasured(
            f"memory is unknown {_where(worst)}", "measure on Linux, which counts it by process"
        )
    return Reading(peak_bytes(worst), source=_where(worst))


def pss(evidence: Evidence, artifact: Artifact) -> Reading:
    """The process's share of memory with the file loaded (proportional set size), in bytes."""
    return _memory(evidence, artifact, "pss_bytes", "PSS", _where)


def arena(evidence: Evidence, artifact: Artifact) -> Reading:
    """What TFLite's own kernels share for activations and scratch, in bytes.

    It is read on every device with the Python agent, whichever kernels were timed there.
    """
    if artifact.format != "tflite":
        return unmeasured(
            "the arena is TFLite's: ONNX Runtime does not tell its own",
            "hold peak_memory or pss for this file instead",
        )
    return _memory(
        evidence,
        artifact,
        "arena_bytes",
        "the arena",
        lambda row: f"of TFLite's own kernels in {row.runtime} on {row.device}",
    )


def _memory(
    evidence: Evidence,
    artifact: Artifact,
    field: str,
    what: str,
    where: Callable[[BenchRow], str],
) -> Reading:
    """The largest over every device and runtime that tells it; some runners tell none of it."""
    rows = evidence.bench_rows(artifact)
    if not rows:
        return _no_bench(evidence)
    known = [(amount, row) for row in rows if (amount := getattr(row, field)) is not None]
    if not known:
        return unmeasured(
            f"{what} is unknown on every device that was measured",
            f"measure on a device and with a runner that tells {what}, or hold peak_memory instead",
        )
    amount, row = max(known, key=lambda pair: pair[0])
    return Reading(amount, source=where(row))


def peak_bytes(row: BenchRow) -> int:
    """The largest memory of the process while it loaded or ran the file, in bytes."""
    return max(row.peak_load_bytes, row.peak_inference_bytes)


def slowest(
    evidence: Evidence,
    artifact: Artifact,
    time_ms: Callable[[BenchRow], float],
    device: str | None = None,
) -> Reading:
    """The largest time over the rows of one device (None: of all); an invalid row is no time."""
    every = evidence.bench_rows(artifact)
    if not every:
        return _no_bench(evidence)
    rows = [row for row in every if device in (None, row.device)]
    if not rows:
        measured = ", ".join(sorted({row.device for row in every}))
        return unmeasured(
            f"not measured on {device}: only on {measured}",
            f"run `edgewright bench` with `--device {device}`, or mend the name in the budget",
        )
    for row in rows:
        if not row.valid:
            why = "; ".join(row.reasons or row.notes)
            return unmeasured(
                f"the measurement {_where(row)} is marked invalid{f' ({why})' if why else ''}",
                "; ".join(row.remedies) or "measure again on a quiet, cool device, its clock fixed",
            )
    worst = max(rows, key=time_ms)
    return Reading(time_ms(worst), source=_where(worst))


def _where(row: BenchRow) -> str:
    delegate = "" if row.delegate in ("", "none") else f" with {row.delegate}"
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return f"on {row.device} in {row.runtime}{delegate}, {threads}"


def _no_bench(evidence: Evidence) -> Reading:
    reason = (
        "speed and memory were not measured: there is no bench.json"
        if evidence.bench is None
        else "bench.json has no row for this file"
    )
    return unmeasured(reason, "run `edgewright bench` on the file and keep its bench.json here")


def certified(evidence: Evidence, artifact: Artifact) -> tuple[str | None, str]:
    """The certificate's verdict and, unless it is clean for this file, what is wrong."""
    certificate = evidence.certificate
    if certificate is None:
        return None, "nothing was proven: there is no certificate.json"
    trouble = _trouble(certificate)
    if trouble or certificate.verdict != "clean":
        return "differs", trouble or "the certificate's verdict is 'differs'"
    if not evidence.comparisons(artifact):
        return None, "the certificate does not cover this file"
    return "clean", ""


def _trouble(certificate: Certificate) -> str:
    """The first thing in the certificate that is not clean.

    A verdict of "clean" over a failed check is not believed either.
    """
    for check in certificate.checks:
        if not check.passed:
            return f"check '{check.name}' failed: {check.detail}"
    for row in certificate.outputs:
        if row.decides and row.differing:
            return (
                f"{row.artifact} in {row.runtime} differs in {row.differing} of {row.values} "
                f"output values, by up to {row.max_lsb} LSB"
            )
    return ""
