"""`contents.json`: what the shipped files hold, listed once where the files are made.

The release gate reads operators and layers here, so that it needs no parser of model files and no
extra of edgewright. Each entry carries its file's SHA-256: one of another file is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from exporter.build import SCHEMA_VERSION, Artifact, Frozen

__all__ = [
    "CONTENTS",
    "FOLDER",
    "RECIPE",
    "Contents",
    "FileContents",
    "LayerRow",
    "OperatorUse",
    "has_contents",
]

CONTENTS: Final = "contents.json"
RECIPE: Final = "recipe.json"
FOLDER: Final = ".recipe-folder"
"""Where the recipe lies, which its paths are relative to: for this machine, not to be shipped."""


@dataclass(frozen=True)
class LayerRow:
    """What one layer's weights look like in the file.

    Attributes:
        name: the layer's name in the file.
        operator: the operator that reads the weights.
        weights: how many weights it has.
        zeros: how many of them are zero.
        distinct_levels: how many different values they take.
        bytes: what they take in the file, in bytes.
        entropy_bits: their order-0 entropy, in bits a weight: what a good coder comes close to.
        macs: multiplications for one sample; 0 where it is not known.
        activation_bytes: the layer's output for one sample, in bytes; 0 where it is not known.
        histogram: (integer, how many weights have it), ascending; empty where it was not counted.
    """

    name: str
    operator: str
    weights: int
    zeros: int
    distinct_levels: int
    bytes: int
    entropy_bits: float
    macs: int = 0
    activation_bytes: int = 0
    histogram: tuple[tuple[int, int], ...] = ()

    @property
    def sparsity(self) -> float:
        """The share of zeros, in [0, 1]."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def entropy_bytes(self) -> float:
        """The whole layer at its entropy, in bytes."""
        return self.entropy_bits * self.weights / 8


class OperatorUse(Frozen):
    """One operator of a file as its runtime knows it.

    Attributes:
        code: CONV_2D of a .tflite; QLinearConv of an .onnx after ONNX Runtime's own rewriting.
        version: of the operator in a .tflite, of the operator set in an .onnx.
        count: how often it stands in the file.
        floats: how many of these compute in float.
    """

    code: str
    version: int
    count: int
    floats: int = 0


class FileContents(Frozen):
    """One shipped file; `layers` is empty where they were not read."""

    artifact: str
    sha256: str
    operators: tuple[OperatorUse, ...]
    layers: tuple[LayerRow, ...] = ()


class Contents(Frozen):
    """The document."""

    schema_version: Literal[1] = SCHEMA_VERSION
    files: tuple[FileContents, ...]

    def of(self, sha256: str) -> FileContents | None:
        """The entry of the file with this hash."""
        return next((entry for entry in self.files if entry.sha256 == sha256.lower()), None)


def has_contents(artifact: Artifact) -> bool:
    """Whether a file is listed: the int8 ones, but for .ort, which holds what the .onnx holds."""
    return artifact.precision == "int8" and artifact.format != "ort"
