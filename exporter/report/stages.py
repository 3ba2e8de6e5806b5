"""The way of a network on the page: what each stage left of its accuracy, bytes and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exporter.build import Artifact, BenchRow
from exporter.contents import LayerRow
from exporter.gate.evidence import Evidence
from exporter.report.summary import representative

__all__ = ["StageRow", "stage_rows"]

_RUNTIMES: Final = ("tflite", "onnx")
_UNCOMPRESSED: Final = "fp32"
"""The stage of which the fp32 files are made."""
_SAME_GRAPH: Final = ("pruned", "shared")
"""Stages that only change numbers in the graph of the stage before: no runtime is faster for it."""
_SHIPPED: Final = "QAT"
"""The stage that becomes the int8 files."""


@dataclass(frozen=True)
class StageRow:
    """One stage; None where nothing was measured.

    `accuracy` and `sparsity` are in [0, 1]. `times` has the measurement in TFLite and that in ONNX
    Runtime of the file that the stage became. A stage that became none has those of the fp32 files
    where it is their graph with other numbers in it, and `as_fp32` says so; else it has none.
    """

    name: str
    accuracy: float | None
    sparsity: float | None
    size_bytes: int | None
    times: tuple[BenchRow | None, ...]
    as_fp32: bool = False


def stage_rows(evidence: Evidence) -> tuple[StageRow, ...]:
    """The stages of training, the int8 .tflite file, its package; empty where nothing trained."""
    stages = () if evidence.accuracy is None else evidence.accuracy.stages
    names = [stage.stage for stage in stages]
    # A stage like channel pruning leaves another graph, and that of the fp32 files no more.
    as_fp32 = [
        name in _SAME_GRAPH and {*names[:place]} <= {_UNCOMPRESSED, *_SAME_GRAPH}
        for place, name in enumerate(names)
    ]
    rows = [
        StageRow(
            stage.stage,
            stage.accuracy,
            stage.sparsity,
            stage.weight_bytes,
            _times_of(evidence, stage.stage, as_fp32=same),
            same,
        )
        for stage, same in zip(stages, as_fp32, strict=True)
    ]
    shipped = evidence.manifest.artifact("tflite", "int8")
    return tuple(rows + _shipped(evidence, shipped)) if rows and shipped is not None else ()


def _shipped(evidence: Evidence, artifact: Artifact) -> list[StageRow]:
    accuracies = [row.accuracy for row in evidence.accuracy_rows(artifact)]
    accuracy = min(accuracies, default=None)
    sparsity = _sparsity(evidence.layers(artifact))
    times = _times(evidence, "int8")
    rows = [StageRow("int8 file", accuracy, sparsity, artifact.bytes, times)]
    if artifact.package is not None:
        rows.append(StageRow("packed", accuracy, sparsity, artifact.package.bytes, times))
    return rows


def _times_of(evidence: Evidence, stage: str, *, as_fp32: bool) -> tuple[BenchRow | None, ...]:
    if stage == _UNCOMPRESSED or as_fp32:
        return _times(evidence, "fp32")
    return _times(evidence, "int8") if stage == _SHIPPED else (None,) * len(_RUNTIMES)


def _times(evidence: Evidence, precision: str) -> tuple[BenchRow | None, ...]:
    artifacts = (evidence.manifest.artifact(form, precision) for form in _RUNTIMES)
    return tuple(None if one is None else representative(evidence, one) for one in artifacts)


def _sparsity(layers: Sequence[LayerRow]) -> float | None:
    weights = sum(layer.weights for layer in layers)
    return sum(layer.sparsity * layer.weights for layer in layers) / weights if weights else None
