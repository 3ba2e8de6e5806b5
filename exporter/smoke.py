"""The smoke test: a build's golden inputs through its shipped files on a device.

Each int8 file runs as it is, and as its package unpacked there. Its outputs must be the golden ones
bit for bit where the certificate says so, else no further away than it says. smoke.json keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from devices.errors import LinkError
from devices.session import Session
from exporter.build import (
    CERTIFICATE,
    GOLDEN,
    MANIFEST,
    Artifact,
    Certificate,
    Manifest,
    Smoke,
    SmokeRow,
    load_json,
)
from exporter.verify.parity import feeding_of
from runtimes.errors import EdgewrightError, MissingRuntimeError
from runtimes.report import SmokeReport

NOT_DECISIVE = "builtin"  # of the certificate's row of TFLite's builtin kernels


def smoke_build(
    directory: Path, session: Session, progress: Callable[[SmokeRow], None] = lambda _row: None
) -> list[SmokeRow]:
    """Run every int8 file of a build, and every package, on an open device.

    A file that fails on the device is a row that did not pass, one that it has no interpreter for a
    row that says so; only a lost link ends the test.

    Raises:
        BuildError: the directory is no build.
        LinkError: the device is gone.
    """
    manifest = load_json(directory / MANIFEST, Manifest)
    certificate = load_json(directory / CERTIFICATE, Certificate)
    rows = []
    for artifact in manifest.artifacts:
        if artifact.precision != "int8":
            continue
        packages = [] if artifact.package is None else [artifact.package.path]
        for name in (artifact.path, *packages):
            rows.append(_row(directory, session, artifact, name, certificate))
            progress(rows[-1])
    return rows


def smoke_document(rows: list[SmokeRow]) -> Smoke:
    """The document of rows of any devices."""
    return Smoke(created=datetime.now(UTC).isoformat(timespec="seconds"), rows=tuple(rows))


def _row(
    directory: Path, session: Session, artifact: Artifact, name: str, certificate: Certificate
) -> SmokeRow:
    try:
        report = session.smoke(directory / name, directory / GOLDEN, feeding=feeding_of(artifact))
    except LinkError:
        raise
    except EdgewrightError as error:
        text = f"{error.problem} ({error.found})" if error.found else error.problem
        why = "not_run" if isinstance(error, MissingRuntimeError) else "error"
        return SmokeRow(device=session.name, file=name, passed=False, **{why: text})
    limit_lsb = _limit_lsb(certificate, artifact, report)
    other = report.model_sha256 != artifact.sha256
    return SmokeRow(
        device=session.name,
        file=name,
        runtime=report.runtime,
        runtime_version=report.runtime_version,
        delegate=report.delegate,
        samples=report.count,
        values=report.values,
        differing=report.differing,
        max_lsb=report.max_lsb,
        limit_lsb=limit_lsb,
        sha256=report.sha256,
        passed=report.max_lsb <= limit_lsb and not other,
        error="what ran is not the file of the manifest" if other else "",
        notes=report.notes,
        file_sha256=report.model_sha256,
    )


def _limit_lsb(certificate: Certificate, artifact: Artifact, report: SmokeReport) -> int:
    """How far the certificate says that these kernels are from the golden outputs.

    A TFLite file without XNNPACK runs on builtin kernels, which have a row of their own. With int16
    activations no file is exact, and each may be as far off as the farthest.
    """
    if certificate.activations == "int16":
        return certificate.within_lsb or 0
    builtin = report.runtime != "onnxruntime" and report.delegate == "none"
    limits = [
        row.max_lsb
        for row in certificate.outputs
        if row.artifact == artifact.name and (NOT_DECISIVE in row.runtime) == builtin
    ]
    return max(limits, default=0)
