"""Limits on what a file is made of: which operators, in which versions, and none in float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.build import Artifact
from exporter.contents import OperatorUse
from exporter.gate.budget import EVERY_OPERATOR
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.verdict import Line

__all__ = ["allowed_operators", "float_operators", "operator_versions"]

_CELL: Final = 24
_UNLISTED: Final = {
    "reason": "the file's operators were not listed: contents.json has no entry of it",
    "remedy": "run `edgewright report` on the directory: it writes contents.json",
}
_UNLISTED_ORT: Final = {
    "reason": "the operators of .ort files are not listed",
    "remedy": "hold the .onnx file, which has the same, and name it in the budget's glob",
}

_OPERATORS_REMEDY: Final = (
    "replace these layers in the model by ones that the device runs, or allow the operators"
)
_VERSIONS_REMEDY: Final = (
    "ship a newer interpreter to the device, or change the layers that need the newer operator"
)
_FLOATS_REMEDY: Final = (
    "the certificate names each float island and why it is there; use a layer whose integer form "
    "both runtimes compute alike (ReLU for hard-swish, say), or allow the operators"
)


def allowed_operators(
    evidence: Evidence, artifact: Artifact, allowed: tuple[str, ...]
) -> tuple[Line, ...]:
    """Every operator of the file is on the list."""
    uses = _uses(evidence, artifact)
    others = [use for use in uses or () if use.code not in allowed]
    line = _line(artifact, "operators", _names(allowed))
    return (_decided(artifact, line, uses, others, "not allowed", _OPERATORS_REMEDY),)


def operator_versions(
    evidence: Evidence, artifact: Artifact, allowed: tuple[tuple[str, int], ...]
) -> tuple[Line, ...]:
    """No operator is newer than its limit; `*` is the limit of those that are not named."""
    highest = dict(allowed)
    uses = _uses(evidence, artifact)
    newer = [
        use
        for use in uses or ()
        if use.version > highest.get(use.code, highest.get(EVERY_OPERATOR, use.version))
    ]
    limits = [f"{name} {version}".removeprefix("* ") for name, version in allowed]
    line = _line(artifact, "operator_version", f"≤ {_names(limits)}")
    return (_decided(artifact, line, uses, newer, "newer than allowed", _VERSIONS_REMEDY),)


def float_operators(
    evidence: Evidence, artifact: Artifact, allowed: tuple[str, ...]
) -> tuple[Line, ...]:
    """No operator computes in float but those allowed to."""
    uses = _uses(evidence, artifact)
    others = [use for use in uses or () if use.floats and use.code not in allowed]
    line = _line(artifact, "float_operators", _names(allowed))
    return (_decided(artifact, line, uses, others, "in float", _FLOATS_REMEDY),)


def _names(names: Sequence[str]) -> str:
    """A list that fits a table's cell: names where they are few, their number where not."""
    text = ", ".join(names) or "none"
    return text if len(text) <= _CELL else f"{len(names)} listed"


def _uses(evidence: Evidence, artifact: Artifact) -> tuple[OperatorUse, ...] | None:
    listed = evidence.file_contents(artifact)
    return None if listed is None else listed.operators


def _line(artifact: Artifact, limit: str, allowed: str) -> Line:
    return Line(artifact=file_name(artifact), limit=limit, limit_value=allowed, passed=False)


def _decided(
    artifact: Artifact,
    line: Line,
    uses: tuple[OperatorUse, ...] | None,
    wrong: Sequence[OperatorUse],
    what: str,
    remedy: str,
) -> Line:
    """The line with its answer; `wrong` are the operators that break the limit."""
    if uses is None:
        return line.model_copy(update=_UNLISTED_ORT if artifact.format == "ort" else _UNLISTED)
    names = [_name(use, in_float=what == "in float") for use in wrong]
    if not names:
        return line.model_copy(
            update={"passed": True, "measured": f"{sum(use.count for use in uses)} kept"}
        )
    return line.model_copy(
        update={
            "measured": f"{len(names)} {what}",
            "reason": f"{what}: {', '.join(names)}",
            "remedy": remedy,
        }
    )


def _name(use: OperatorUse, *, in_float: bool) -> str:
    count = use.floats if in_float else use.count
    return f"{count}\N{MULTIPLICATION SIGN} {use.code} (version {use.version})"
