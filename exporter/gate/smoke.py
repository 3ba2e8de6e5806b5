"""The limit on the smoke test: the golden inputs gave the golden outputs, where it matters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from exporter.build import Artifact, SmokeRow
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.verdict import Line

__all__ = ["smoke"]

_REMEDY: Final = (
    "the device computes otherwise than the build: look at the runtime's version and delegate, "
    "then run `edgewright verify` on the directory"
)


def smoke(evidence: Evidence, artifact: Artifact, devices: tuple[str, ...]) -> tuple[Line, ...]:
    """One line for each device named; one for all that it ran on where none is named.

    Each row says itself whether it passed: where the device runs TFLite's builtin kernels, as far
    from the golden outputs as the certificate allows, else bit for bit.
    """
    rows = evidence.smoke_rows(artifact)
    if not devices:
        return (_held(evidence, artifact, "", rows),)
    return tuple(
        _held(evidence, artifact, device, tuple(row for row in rows if row.device == device))
        for device in devices
    )


def _held(evidence: Evidence, artifact: Artifact, device: str, rows: tuple[SmokeRow, ...]) -> Line:
    line = Line(
        artifact=file_name(artifact),
        limit="smoke",
        device=device,
        limit_value="passed",
        passed=False,
    )
    if not rows:
        return line.model_copy(
            update={"reason": _why_none(evidence, device), "remedy": _how(evidence, device)}
        )
    stale = next((row for row in rows if _ran_another(evidence, row, artifact)), None)
    row = stale or next((row for row in rows if _failure(row)), rows[0])
    trouble = _ran_another(evidence, row, artifact) or _failure(row)
    return line.model_copy(
        update={
            "measured": "not run" if row.not_run else "failed" if trouble else "passed",
            "passed": not trouble,
            "reason": trouble,
            "remedy": "" if not trouble else _remedy(evidence, row, stale=stale is not None),
            "source": "" if trouble else _source(row),
        }
    )


def _ran_another(evidence: Evidence, row: SmokeRow, artifact: Artifact) -> str:
    """Why the row is not about this build's file; "" where it is."""
    if not row.file_sha256 and _is_older(evidence):
        return "the smoke test is older than this build, so it ran other files"
    if row.file_sha256 and row.file_sha256.lower() != artifact.sha256.lower():
        return f"the smoke test on {row.device} ran another file than this one"
    return ""


def _failure(row: SmokeRow) -> str:
    """What went wrong; "" where the row passed."""
    if row.error or row.not_run:
        return f"{row.file} on {row.device}: {row.error or f'not run: {row.not_run}'}"
    if row.passed:
        return ""
    return (
        f"{row.file}: {row.differing} of {row.values} output values differ on {row.device} "
        f"in {row.runtime}, by up to {row.max_lsb} LSB"
    )


def _is_older(evidence: Evidence) -> bool:
    """Whether smoke.json was written before the manifest, where its rows do not tell what ran."""
    if evidence.smoke is None:
        return False
    try:
        smoked, built = map(_moment, (evidence.smoke.created, evidence.manifest.created))
    except ValueError:
        return True  # no date that can be read is no proof
    return smoked < built


def _moment(text: str) -> datetime:
    """A time of a document; without a zone it is UTC, as documents are written."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _remedy(evidence: Evidence, row: SmokeRow, *, stale: bool) -> str:
    if stale:
        return _how(evidence, row.device)
    return f"install it there, then {_how(evidence, row.device)}" if row.not_run else _REMEDY


def _source(row: SmokeRow) -> str:
    runtime = f" in {row.runtime}" if row.runtime else ""
    samples = f", {row.samples} inputs" if row.samples else ""
    return f"on {row.device}{runtime}{samples}"


def _why_none(evidence: Evidence, device: str) -> str:
    if evidence.smoke is None:
        return "no smoke test was run: there is no smoke.json"
    return f"smoke.json has no row for this file{f' on {device}' if device else ''}"


def _how(evidence: Evidence, device: str) -> str:
    where = f" --device {device}" if device else ""
    return f"run `edgewright smoke {evidence.directory}{where}`"
