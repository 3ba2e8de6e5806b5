"""How each limit of a budget is held against an artifact: one small function a limit.

What was not measured fails with that reason; no limit passes for want of a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from exporter.build import Artifact, BenchRow
from exporter.gate import operators, readings, smoke
from exporter.gate.account import differing, hardest_pruned, heaviest
from exporter.gate.budget import DeviceLimit
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.hold import hold
from exporter.gate.readings import Reading
from exporter.gate.units import BYTES, MILLISECONDS, POINTS, RATIO, SHARE, Quantity
from exporter.gate.verdict import Line

__all__ = ["MEASURES", "Measure", "file_matches", "package_matches"]

Measure = Callable[[Evidence, Artifact, Any], tuple[Line, ...]]
Details = Callable[[Evidence, Artifact], tuple[str, ...]]


def _nothing(_: Evidence, __: Artifact) -> tuple[str, ...]:
    return ()


def _scalar(
    limit: str,
    read: Callable[[Evidence, Artifact], Reading],
    quantity: Quantity,
    remedy: str,
    relation: Literal["at most", "at least"] = "at most",
    details: Details = _nothing,
) -> Measure:
    """A limit with one value, on any device; `details` name the layers behind a failure."""

    def measure(evidence: Evidence, artifact: Artifact, allowed: float) -> tuple[Line, ...]:
        line = hold(
            file_name(artifact),
            limit,
            allowed,
            read(evidence, artifact),
            quantity,
            relation=relation,
            remedy=remedy,
            details=details(evidence, artifact),
        )
        return (line,)

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
                entry.limit,
                readings.slowest(evidence, artifact, percentile, entry.device),
                MILLISECONDS,
                relation="at most",
                remedy=_LATENCY_REMEDY,
                device=entry.device,
                details=_slow_layers(evidence, artifact),
            )
            for entry in allowed
        )

    return measure


def _large_layers(evidence: Evidence, artifact: Artifact) -> tuple[str, ...]:
    return heaviest(evidence.layers(artifact), lambda layer: layer.bytes, "B")


def _large_packed_layers(evidence: Evidence, artifact: Artifact) -> tuple[str, ...]:
    return heaviest(evidence.layers(artifact), lambda layer: layer.entropy_bytes, "B")


def _slow_layers(evidence: Evidence, artifact: Artifact) -> tuple[str, ...]:
    return heaviest(evidence.layers(artifact), lambda layer: layer.macs, "MAC")


def _wide_layers(evidence: Evidence, artifact: Artifact) -> tuple[str, ...]:
    return heaviest(evidence.layers(artifact), lambda layer: layer.activation_bytes, "B")


def _pruned_layers(evidence: Evidence, artifact: Artifact) -> tuple[str, ...]:
    return hardest_pruned(evidence.layers(artifact))


def _certificate(evidence: Evidence, artifact: Artifact, allowed: str) -> tuple[Line, ...]:
    measured, reason = readings.certified(evidence, artifact)
    remedy = _CERTIFICATE_REMEDY if measured == "differs" else _VERIFY
    layers = evidence.certificate.layers if evidence.certificate is not None else ()
    return (
        Line(
            artifact=file_name(artifact),
            limit="certificate",
            limit_value=allowed,
            measured=measured,
            passed=not reason,
            reason=reason,
            remedy=remedy if reason else "",
            details=differing(layers) if reason else (),
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
    "run `edgewright verify --layers` on the directory: it names the layers; `exact = true` in the "
    "recipe gives the form in which both runtimes agree"
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

_DELTA_REMEDY: Final = (
    "train on from the released weights with its mask and grid frozen: what did not move costs "
    "nothing"
)
_AGREEMENT_REMEDY: Final = (
    "distil from the fp32 network (`teacher`), or train longer with quantization on: agreement "
    "counts every changed answer, also those that were wrong before"
)
_ARENA_REMEDY: Final = (
    "a smaller input or narrower first layers shrink the activations, which are what the arena "
    "holds"
)

MEASURES: Final[Mapping[str, Measure]] = {
    "file_bytes": _scalar(
        "file_bytes", readings.file_bytes, BYTES, _FILE_REMEDY, details=_large_layers
    ),
    "package_bytes": _scalar(
        "package_bytes",
        readings.package_bytes,
        BYTES,
        _PACKAGE_REMEDY,
        details=_large_packed_layers,
    ),
    "delta_bytes": _scalar(
        "delta_bytes", readings.delta_bytes, BYTES, _DELTA_REMEDY, details=_large_packed_layers
    ),
    "compression_ratio": _scalar(
        "compression_ratio",
        readings.compression_ratio,
        RATIO,
        _PACKAGE_REMEDY,
        "at least",
        details=_large_packed_layers,
    ),
    "accuracy": _scalar(
        "accuracy", readings.accuracy, SHARE, _ACCURACY_REMEDY, "at least", details=_pruned_layers
    ),
    "accuracy_drop": _scalar(
        "accuracy_drop", readings.accuracy_drop, POINTS, _ACCURACY_REMEDY, details=_pruned_layers
    ),
    "agreement": _scalar(
        "agreement",
        readings.agreement,
        SHARE,
        _AGREEMENT_REMEDY,
        "at least",
        details=_pruned_layers,
    ),
    "peak_memory": _scalar(
        "peak_memory", readings.peak_memory, BYTES, _MEMORY_REMEDY, details=_wide_layers
    ),
    "pss": _scalar("pss", readings.pss, BYTES, _MEMORY_REMEDY, details=_wide_layers),
    "arena": _scalar("arena", readings.arena, BYTES, _ARENA_REMEDY, details=_wide_layers),
    "load": _scalar(
        "load",
        lambda e, a: readings.slowest(e, a, lambda row: row.load_ms),
        MILLISECONDS,
        _LOAD_REMEDY,
        details=_large_layers,
    ),
    "latency_p50": _latency("latency_p50", lambda row: row.p50_ms),
    "latency_p90": _latency("latency_p90", lambda row: row.p90_ms),
    "latency_p99": _latency("latency_p99", lambda row: row.p99_ms),
    "certificate": _certificate,
    "smoke": smoke.smoke,
    "operators": operators.allowed_operators,
    "operator_version": operators.operator_versions,
    "float_operators": operators.float_operators,
}
"""What needs no baseline, by the limit's name; `exporter.gate.growth` has the two that do."""
