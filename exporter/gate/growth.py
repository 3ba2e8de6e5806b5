"""How much a file may grow from the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from exporter.build import Artifact
from exporter.gate import account, readings
from exporter.gate.baseline import NO_BASELINE, Baseline, BaselineFile, no_file
from exporter.gate.budget import GrowthLimit
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.hold import hold
from exporter.gate.readings import Reading, unmeasured
from exporter.gate.units import BYTES, SHARE
from exporter.gate.verdict import LayerChange, Line

__all__ = ["changes", "growth"]

_GROWTH_REMEDY: Final = (
    "look at the layers that grew; prune them as far as before, or raise the limit on purpose"
)

_NOW: Final[Mapping[str, Callable[[Evidence, Artifact], Reading]]] = {
    "file_bytes": readings.file_bytes,
    "package_bytes": readings.package_bytes,
    "peak_memory": readings.peak_memory,
}


def growth(
    evidence: Evidence,
    artifact: Artifact,
    baseline: Baseline | None,
    limits: tuple[GrowthLimit, ...],
) -> tuple[Line, ...]:
    """One line for each size that is held."""
    before = None if baseline is None else baseline.file(artifact)
    return tuple(_growth(evidence, artifact, baseline, before, limit) for limit in limits)


def _growth(
    evidence: Evidence,
    artifact: Artifact,
    baseline: Baseline | None,
    before: BaselineFile | None,
    limit: GrowthLimit,
) -> Line:
    details: tuple[str, ...] = ()
    if before is not None:
        found = account.changes(file_name(artifact), evidence.layers(artifact), before.layers)
        details = account.describe(found, packed=limit.of == "package_bytes")
    return hold(
        file_name(artifact),
        "max_growth",
        limit.limit,
        _grown(evidence, artifact, baseline, before, limit.of),
        SHARE,
        relation="at most",
        remedy=_GROWTH_REMEDY,
        subject=limit.of,
        details=details,
    )


def _grown(
    evidence: Evidence,
    artifact: Artifact,
    baseline: Baseline | None,
    before: BaselineFile | None,
    of: str,
) -> Reading:
    if baseline is None:
        return NO_BASELINE
    if before is None:
        return no_file(artifact, baseline)
    old = getattr(before, of)
    if not old:
        return unmeasured(
            f"the baseline {baseline.name} has no {of} of {before.artifact}",
            "measure it in the release's build before its baseline is kept",
        )
    now = _NOW[of](evidence, artifact)
    if now.value is None:
        return now
    source = f"from {BYTES.format(old)} to {BYTES.format(now.value)}"
    return Reading(now.value / old - 1, source=source)


def changes(evidence: Evidence, baseline: Baseline) -> tuple[LayerChange, ...]:
    """The layers that are not as before, of the first int8 file whose layers both know."""
    for artifact in evidence.manifest.artifacts:
        before = baseline.file(artifact)
        now = evidence.layers(artifact)
        if before is not None and before.layers and now:
            return account.changes(file_name(artifact), now, before.layers)
    return ()
