"""The release before: a build directory, or the small JSON that is kept of one.

The JSON holds what comparisons need and no model: it can lie in a repository beside the budget.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from exporter.build import SCHEMA_VERSION, Artifact, Frozen, load_json, save_json
from exporter.contents import LayerRow
from exporter.errors import BuildError
from exporter.gate import readings
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.readings import Reading, unmeasured

__all__ = [
    "NO_BASELINE",
    "Baseline",
    "BaselineFile",
    "baseline_of",
    "load_baseline",
    "no_file",
    "save_baseline",
]

NO_BASELINE: Final = unmeasured(
    "there is no baseline to compare with",
    "give `--baseline`: the last release's build directory, or the JSON that `check "
    "--save-baseline` wrote of it",
)


class BaselineFile(Frozen):
    """One shipped file of the release before; None for what was not measured.

    `peak_memory` is in bytes, `accuracy` in [0, 1].
    """

    artifact: str
    format: str
    precision: str
    sha256: str
    file_bytes: int
    package_bytes: int | None = None
    peak_memory: int | None = None
    accuracy: float | None = None
    layers: tuple[LayerRow, ...] = ()


class Baseline(Frozen):
    """The document."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    created: str
    files: tuple[BaselineFile, ...]

    def file(self, artifact: Artifact) -> BaselineFile | None:
        """The file of the same name; else the only one of the same format and precision."""
        for entry in self.files:
            if entry.artifact == file_name(artifact):
                return entry
        kind = (artifact.format, artifact.precision)
        alike = [entry for entry in self.files if (entry.format, entry.precision) == kind]
        return alike[0] if len(alike) == 1 else None


def load_baseline(path: Path) -> Baseline:
    """Read a baseline: a build directory, or a file that `save_baseline` wrote.

    Raises:
        BuildError: neither is there, or it is damaged.
    """
    if path.is_dir():
        return baseline_of(Evidence(path))
    if not path.exists():
        raise BuildError(
            f"the baseline {path} is missing",
            expected="a build directory, or a JSON file of `check --save-baseline`",
            found="nothing of that name",
            remedy="keep the last release's build, or leave --baseline out for the first one",
        )
    return load_json(path, Baseline)


def no_file(artifact: Artifact, baseline: Baseline) -> Reading:
    """Why an artifact cannot be compared: the baseline has none like it."""
    names = ", ".join(entry.artifact for entry in baseline.files) or "nothing"
    return unmeasured(
        f"the baseline {baseline.name} has no file like this one: it holds {names}",
        f"give a baseline with an {artifact.precision} .{artifact.format} file",
    )


def save_baseline(evidence: Evidence, path: Path) -> None:
    """Keep what the next release will be compared with."""
    save_json(path, baseline_of(evidence))


def baseline_of(evidence: Evidence) -> Baseline:
    """What a build will be remembered by.

    Raises:
        BuildError: a JSON file of the build is damaged.
    """
    return Baseline(
        name=evidence.manifest.name,
        created=evidence.manifest.created,
        files=tuple(_file(evidence, artifact) for artifact in evidence.manifest.artifacts),
    )


def _file(evidence: Evidence, artifact: Artifact) -> BaselineFile:
    peak = readings.peak_memory(evidence, artifact).value
    return BaselineFile(
        artifact=file_name(artifact),
        format=artifact.format,
        precision=artifact.precision,
        sha256=artifact.sha256.lower(),
        file_bytes=artifact.bytes,
        package_bytes=None if artifact.package is None else artifact.package.bytes,
        peak_memory=None if peak is None else int(peak),
        accuracy=readings.accuracy(evidence, artifact).value,
        layers=evidence.layers(artifact),
    )
