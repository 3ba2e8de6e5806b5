"""What a build directory proves: its manifest, its measurements, and the bytes on disk.

The gate and the report read through this one view, so that both speak of the same numbers.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import BaseModel

from exporter.build import (
    ACCURACY,
    BENCH,
    CERTIFICATE,
    MANIFEST,
    SMOKE,
    Accuracy,
    AccuracyRow,
    Artifact,
    Bench,
    BenchRow,
    Certificate,
    Manifest,
    OutputComparison,
    PackageInfo,
    Smoke,
    SmokeRow,
    load_json,
    sha256_of,
)
from exporter.contents import CONTENTS, Contents, FileContents, LayerRow
from exporter.errors import BuildError

__all__ = ["Evidence", "file_name"]

Model = TypeVar("Model", bound=BaseModel)


def file_name(artifact: Artifact) -> str:
    """The artifact's name on disk, without folders: what budgets and tables call it."""
    return PurePosixPath(artifact.path).name


class Evidence:
    """One build directory. The manifest is read at once, the rest when it is asked for.

    Raises:
        BuildError: the manifest is missing or damaged, or names a path outside the directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest: Manifest = load_json(directory / MANIFEST, Manifest)
        for artifact in self.manifest.artifacts:
            _refuse_outside(artifact.path)
            if artifact.package is not None:
                _refuse_outside(artifact.package.path)

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """`accuracy.json`; None when it was not measured.

        Raises:
            BuildError: the file is damaged. The same holds for the other documents.
        """
        return self._optional(ACCURACY, Accuracy)

    @cached_property
    def bench(self) -> Bench | None:
        """`bench.json`; None when nothing was measured."""
        return self._optional(BENCH, Bench)

    @cached_property
    def certificate(self) -> Certificate | None:
        """`certificate.json`; None when nothing was proven."""
        return self._optional(CERTIFICATE, Certificate)

    @cached_property
    def smoke(self) -> Smoke | None:
        """`smoke.json`; None when no smoke test was run."""
        return self._optional(SMOKE, Smoke)

    @cached_property
    def contents(self) -> Contents | None:
        """`contents.json`; None when the files were not listed."""
        return self._optional(CONTENTS, Contents)

    def file_contents(self, artifact: Artifact) -> FileContents | None:
        """What the file holds; None when it was not listed, or another file was."""
        return None if self.contents is None else self.contents.of(artifact.sha256)

    def layers(self, artifact: Artifact) -> tuple[LayerRow, ...]:
        """The layers of an int8 file; those of the .tflite for any other, which has the same."""
        if artifact.precision != "int8":
            return ()
        shown = self.manifest.artifact("tflite", "int8")
        for candidate in (artifact, shown):
            listed = None if candidate is None else self.file_contents(candidate)
            if listed is not None and listed.layers:
                return listed.layers
        return ()

    def accuracy_rows(self, artifact: Artifact) -> tuple[AccuracyRow, ...]:
        """Every runtime in which the artifact's accuracy was measured."""
        rows = self.accuracy.rows if self.accuracy is not None else ()
        return tuple(row for row in rows if row.artifact in self._names(artifact))

    def bench_rows(self, artifact: Artifact) -> tuple[BenchRow, ...]:
        """Every device and runtime on which this very file was measured.

        A row that tells the hash of what ran, and tells another one, is of another build.
        """
        rows = self.bench.rows if self.bench is not None else ()
        known = ("", artifact.sha256.lower())
        return tuple(
            row
            for row in rows
            if row.artifact in self._names(artifact) and row.model_sha256.lower() in known
        )

    def smoke_rows(self, artifact: Artifact) -> tuple[SmokeRow, ...]:
        """Every smoke test of the artifact, as it is and as its package."""
        rows = self.smoke.rows if self.smoke is not None else ()
        names = self._names(artifact)
        if artifact.package is not None:
            names |= {artifact.package.path}
        return tuple(row for row in rows if row.file in names)

    def comparisons(self, artifact: Artifact) -> tuple[OutputComparison, ...]:
        """The certificate's rows of output hashes for the artifact."""
        rows = self.certificate.outputs if self.certificate is not None else ()
        return tuple(row for row in rows if row.artifact in self._names(artifact))

    def reference(self, artifact: Artifact) -> Artifact | None:
        """The fp32 file to compare sizes with: of the same format, else the .onnx."""
        return self.manifest.artifact(artifact.format, "fp32") or self.manifest.artifact(
            "onnx", "fp32"
        )

    def bytes_on_disk(self, entry: Artifact | PackageInfo) -> int | None:
        """The file's size now, in bytes; None when it is not there."""
        path = self.directory / entry.path
        return path.stat().st_size if path.is_file() else None

    def alteration(self, entry: Artifact | PackageInfo) -> str:
        """How a file on disk differs from what the manifest says of it; "" when it does not."""
        size = self.bytes_on_disk(entry)
        if size is None:
            return "the file is missing"
        if size != entry.bytes:
            return f"{size} bytes on disk, {entry.bytes} in the manifest: altered since the build"
        if sha256_of(self.directory / entry.path) != entry.sha256.lower():
            return "its SHA-256 is not the manifest's: altered since the build"
        return ""

    def _names(self, artifact: Artifact) -> frozenset[str]:
        """What a row may call the artifact: its path, its file name, or its name if no other's."""
        names = {artifact.path, file_name(artifact)}
        if sum(other.name == artifact.name for other in self.manifest.artifacts) == 1:
            names.add(artifact.name)
        return frozenset(names)

    def _optional(self, name: str, model: type[Model]) -> Model | None:
        path = self.directory / name
        return load_json(path, model) if path.exists() else None


def _refuse_outside(path: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise BuildError(
            f"the manifest names {path!r}",
            expected="paths inside the build directory",
            found="a path that leaves it",
            remedy="build it again; do not trust this directory",
        )
