"""How each limit of a budget is held against an artifact: one small function a limit.

What was not measured fails with that reason; no limit passes for want of a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from exporter.build import Artifact, BenchRow
from exporter.gate import readings
from exporter.gate.budget import DeviceLimit
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.readings import Reading
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE, Quantity
from exporter.gate.verdict import Line, margin

__all__ = ["MEASURES", "Measure", "file_matches", "package_matches"]

Measure = Callable[[Evidence, Artifact, Any], tuple[Line, ...]]

# Shares and points come out of divisions: 0.99 - 0.98 is 1.0000000000000009 points. Nine decimals
# are far below one sample of any data set, so an exactly met limit is met.
_DECIMALS: Final = 9


def hold(
    artifact: str,
    limit: str,
    allowed: float,
    reading: Reading,
    quantity: Quantity,
    *,
    relation: Literal["at most", "at least"],
    remedy: str,
    device: str = "",
) -> Line:
    """One line: the reading against the limit. A limit that is exactly met is kept."""
    common = {
        "artifact": artifact,
        "limit": limit,
        "device": device,
        "relation": relation,
        "limit_value": allowed,
        "unit": quantity.base,
        "source": reading.source,
    }
    value = reading.value
    if value is None:
        return Line(passed=False, reason=reading.reason, remedy=reading.remedy, **common)
    if not math.isfinite(value):
        return Line(passed=False, reason="the measured value is not a number", **common)
    over = value - allowed if relation == "at most" else allowed - value
    over = over if quantity.whole else round(over, _DECIMALS)
    if over <= 0:
        return Line(passed=True, measured=value, over=over, **common)
    side = "over" if relation == "at most" else "short of"
    return Line(
        passed=False,
        measured=value,
        over=over,
        reason=f"{margin(over, allowed, quantity)} {side} the limit",
        remedy=remedy,
        **common,
    )


def _scalar(
    limit: str,
    read: Callable[[Evidence, Artifact], Reading],
    quantity: Quantity,
    remedy: str,
    relation: Literal["at most", "at least"] = "at most",
) -> Measure:
    """A limit with one value, on any device."""

    def measure(evidence: Evidence, artifact: Artifact, allowed: float) -> tuple[Line, ...]:
        reading = read(evidence, artifact)
        name = file_name(artifact)
        return (hold(name, limit, allowed, reading, quantity, relation=relation, remedy=remedy),)

    return measure


def _latency(limit: str, percentile: Callable[[BenchRow], float]) -> Measure:
    """A time limit for each device named."""

    def measure(
        evidence: Evidence, artifact: Artifact, allowed: tuple[DeviceLimit, ...]
    ) -> tuple[Line, ...]:
        return tuple(
            hold(
                file_name(artifact),
                limit,
                entry.limit_ms,
                readings.slowest(evidence, artifact, percentile, entry.device),
                MILLISECONDS,
                relation="at most",
                remedy=_LATENCY_REMEDY,
                device=entry.device,
            )
            for entry in allowed
        )

    return measure


def _certificate(evidence: Evidence, artifact: Artifact, allowed: str) -> tuple[Line, ...]:
    measured, reason = readings.certified(evidence, artifact)
    remedy = _CERTIFICATE_REMEDY if measured == "differs" else _VERIFY
    return (
        Line(
            artifact=file_name(artifact),
            limit="certificate",
            limit_value=allowed,
            measured=measured,
            passed=not reason,
            reason=reason,
            remedy=remedy if reason else "",
        ),
    )


def file_matches(evidence: Evidence, artifact: Artifact) -> Line:
    """Whether the file is, byte for byte, the one that was built."""
    return _matches(file_name(artifact), evidence.alteration(artifact))


def package_matches(evidence: Evidence, artifact: Artifact) -> tuple[Line, ...]:
    """The same for the artifact's package, if it has one."""
    if artifact.package is None:
        return ()
    return (_matches(artifact.package.path, evidence.alteration(artifact.package)),)


def _matches(name: str, alteration: str) -> Line:
    return Line(
        artifact=name,
        limit="file matches manifest",
        limit_value="as built",
        measured="altered" if alteration else "as built",
        passed=not alteration,
        reason=alteration,
        remedy="build again: ship what was built and measured, nothing else" if alteration else "",
    )


_CERTIFICATE_REMEDY: Final = (
    "run `edgewright verify` on the directory: it names the layers; `exact = true` in the recipe "
    "gives the form in which both runtimes agree"
)
_VERIFY: Final = "run `edgewright verify` on the directory: it writes certificate.json"
_LATENCY_REMEDY: Final = (
    "remove whole channels, to multiples of 16, or try more threads; single zeros do not make "
    "int8 inference faster"
)
_FILE_REMEDY: Final = (
    "an int8 file holds one byte a weight: remove channels or choose a narrower network; single "
    "zeros shrink only the package"
)
_PACKAGE_REMEDY: Final = (
    "prune more weights or allow fewer levels, then train on: the package costs what is left"
)
_ACCURACY_REMEDY: Final = (
    "train longer after pruning and with quantization on, prune less, or allow more levels"
)
_MEMORY_REMEDY: Final = (
    "a smaller input or narrower first layers shrink the activations; fewer threads and the .ort "
    "file shrink the runtime's share"
)
_LOAD_REMEDY: Final = "ship the .ort file, whose graph is optimized already, or a smaller network"

MEASURES: Final[Mapping[str, Measure]] = {
    "file_bytes": _scalar("file_bytes", readings.file_bytes, BYTES, _FILE_REMEDY),
    "package_bytes": _scalar("package_bytes", readings.package_bytes, BYTES, _PACKAGE_REMEDY),
    "compression_ratio": _scalar(
        "compression_ratio", readings.compression_ratio, RATIO, _PACKAGE_REMEDY, "at least"
    ),
    "accuracy": _scalar("accuracy", readings.accuracy, SHARE, _ACCURACY_REMEDY, "at least"),
    "accuracy_drop": _scalar("accuracy_drop", readings.accuracy_drop, POINTS, _ACCURACY_REMEDY),
    "peak_memory": _scalar("peak_memory", readings.peak_memory, BYTES, _MEMORY_REMEDY),
    "load": _scalar(
        "load",
        lambda e, a: readings.slowest(e, a, lambda row: row.load_ms),
        MILLISECONDS,
        _LOAD_REMEDY,
    ),
    "latency_p50": _latency("latency_p50", lambda row: row.p50_ms),
    "latency_p90": _latency("latency_p90", lambda row: row.p90_ms),
    "latency_p99": _latency("latency_p99", lambda row: row.p99_ms),
    "certificate": _certificate,
}
