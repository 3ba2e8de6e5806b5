"""The build directory: what its files are called, what they hold, and how they are written.

Every file is written to a temporary name beside its place and renamed, so that an interrupted run
leaves no half file. Readers get frozen, validated models.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from exporter.errors import BuildError

SCHEMA_VERSION: Final = 1

Activations = Literal["int8", "int16"]
"""The type of the values between the operators of an int8 file."""
Layout = Literal["NHWC", "NCHW", ""]
"""The axes of an image in a file; empty for every other tensor."""

MANIFEST = "manifest.json"
CERTIFICATE = "certificate.json"
ACCURACY = "accuracy.json"
BENCH = "bench.json"
SMOKE = "smoke.json"
GOLDEN = "golden.npz"
REPORT = "report.html"


class Frozen(BaseModel):
    """Base of everything that is read from or written to a build directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorInfo(Frozen):
    """One input or output of a shipped file, as its interpreter sees it.

    `shape` has None for the batch. A real value is `scale * (integer - zero_point)`; both are None
    for float32.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: Literal["uint8", "int8", "int16", "float32"]
    layout: Layout = ""
    scale: float | None = None
    zero_point: int | None = None


class PackageInfo(Frozen):
    """The entropy-coded package that restores an artifact byte for byte."""

    path: str
    bytes: int
    sha256: str


class Artifact(Frozen):
    """One shipped file. `path` is relative to the build directory; `precision` is the weights'."""

    name: str
    format: Literal["tflite", "onnx", "ort"]
    precision: Literal["fp32", "int8"]
    path: str
    bytes: int
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    package: PackageInfo | None = None


class Companion(Frozen):
    """A file that explains or serves the artifacts and runs nowhere; `path` as in `Artifact`."""

    path: str
    bytes: int
    sha256: str
    purpose: str


class Preprocessing(Frozen):
    """What the network makes of its input: (frame / 255 - mean) / std.

    The int8 files do it themselves: they take frames. Empty lists are for inputs that come as the
    network takes them.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Manifest(Frozen):
    """`manifest.json`: what was built, from what, with which versions.

    `labels` says what each class is called, where the recipe does. `companions` are files beside
    the artifacts: the operators that a minimal build of ONNX Runtime needs, what `ptq = "best"`
    chose. `activations` is the type of the values between the int8 files' operators.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    created: str
    versions: dict[str, str]
    source: str
    artifacts: tuple[Artifact, ...]
    preprocessing: Preprocessing = Preprocessing()
    labels: tuple[str, ...] = ()
    companions: tuple[Companion, ...] = ()
    activations: Activations = "int8"

    def artifact(self, format: str, precision: str) -> Artifact | None:
        """The artifact of this format and precision, if it was built."""
        for artifact in self.artifacts:
            if (artifact.format, artifact.precision) == (format, precision):
                return artifact
        return None


class AccuracyRow(Frozen):
    """One artifact in one runtime, over the whole evaluation set.

    `accuracy` is in [0, 1]: the share of samples that are named rightly, or the mean of the
    recipe's own score. `drop_pt` is the fp32 file's less this one's, in percentage points. What
    only classes have is None with a score of one's own: `correct`, how many were named rightly, and
    `agreement`, the share of samples on which both files name the same class.
    """

    artifact: str
    runtime: str
    accuracy: float
    correct: int | None
    drop_pt: float
    agreement: float | None


class StageAccuracy(Frozen):
    """Accuracy after one stage of training, in PyTorch, with what the stage left of the weights.

    `weight_bytes` is about what the stage's weights take in a package (fp32: 4 bytes each).
    """

    stage: str
    accuracy: float
    sparsity: float
    weight_bytes: int


class Accuracy(Frozen):
    """`accuracy.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    dataset: str
    metric: str = "top-1"
    samples: int
    rows: tuple[AccuracyRow, ...]
    stages: tuple[StageAccuracy, ...] = ()


class CheckResult(Frozen):
    """One line of the certificate."""

    name: str
    passed: bool
    detail: str


class OutputComparison(Frozen):
    """The integer outputs of one file in one runtime, against the first row's.

    `differing` counts output values that differ, of `values`; `max_lsb` is the largest difference
    in steps of the output's scale. `sha256` is over the outputs in canonical form (int8, NHWC).
    `decides` says whether the row counts for the verdict (TFLite's builtin kernels do not).
    """

    artifact: str
    runtime: str
    sha256: str
    values: int
    differing: int
    max_lsb: int
    decides: bool = True


class CpuComparison(Frozen):
    """The integer outputs of one file on one emulated CPU, against the golden ones.

    `cpu` is qemu's name. The hash and the counts are as in `OutputComparison`, over `samples`
    golden inputs. `not_run` says why there are none; it is empty where the file ran.
    """

    cpu: str
    features: str
    artifact: str
    runtime: str
    samples: int
    sha256: str | None = None
    values: int = 0
    differing: int = 0
    max_lsb: int = 0
    not_run: str = ""


class LayerParity(Frozen):
    """One layer's integers in one runtime against the reference's, given the same integer inputs.

    `differing` of `values` differ, by `max_lsb` steps of the layer's output scale at most.
    """

    layer: str
    runtime: str
    values: int
    differing: int
    max_lsb: int


class Certificate(Frozen):
    """`certificate.json`: what was proven of the shipped files, and over which inputs.

    `cpus` is empty where no other CPU was asked for, `layers` where no comparison layer by layer.
    `activations` is as in `Manifest`; `int16_operators` are those that compute in int16 in an int8
    network, on request.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    verdict: Literal["clean", "differs"]
    samples: int
    checks: tuple[CheckResult, ...]
    outputs: tuple[OutputComparison, ...]
    islands: tuple[str, ...] = ()
    cpus: tuple[CpuComparison, ...] = ()
    layers: tuple[LayerParity, ...] = ()
    activations: Activations = "int8"
    int16_operators: tuple[str, ...] = ()

    @property
    def within_lsb(self) -> int | None:
        """The largest difference of outputs in their steps, where all checks passed.

        None where nothing is int16, as outputs are equal or wrong then, and where a check failed.
        """
        passed = all(check.passed for check in self.checks)
        if not (self.activations == "int16" or self.int16_operators) or not passed:
            return None
        found = [row.max_lsb for row in self.outputs if row.decides]
        return max(found + [row.max_lsb for row in self.cpus], default=0)

    @property
    def holds(self) -> bool:
        """Whether the verdict is good: outputs are equal, or within a bound where some differ."""
        return self.verdict == "clean" or self.within_lsb is not None

    @property
    def within(self) -> str:
        """How far the outputs are apart, in words, where that has a bound."""
        if self.activations == "int16":
            return f"within {self.within_lsb} LSB of int16"
        count = len(self.int16_operators)
        return f"within {self.within_lsb} LSB of the outputs, as {count} operator(s) are int16"

    @property
    def summary(self) -> str:
        """The verdict in words."""
        if self.verdict == "differs" and self.within_lsb is not None:
            return f"differs {self.within}"
        return self.verdict


class OperatorTime(Frozen):
    """One operator as a runtime executes it: its kind, and ms for each inference."""

    name: str
    kind: str
    mean_ms: float


class StateSample(Frozen):
    """A device `at_s` into a measurement. None is unknown."""

    at_s: float
    frequency_mhz: float | None
    temperature_c: float | None


class BenchRow(Frozen):
    """One file measured in one runtime on one device. Times in ms, memory in bytes.

    The fields are those of `runtimes.report.Measurement`, which says what each is.
    """

    artifact: str
    device: str
    runtime: str
    runtime_version: str
    delegate: str
    threads: int
    load_ms: float
    first_ms: float
    samples_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float
    memory_before_bytes: int
    memory_loaded_bytes: int
    peak_load_bytes: int
    peak_inference_bytes: int
    valid: bool
    notes: tuple[str, ...] = ()
    model_bytes: int = 0
    model_sha256: str = ""
    pss_bytes: int | None = None
    arena_bytes: int | None = None
    warmup_runs: int = 0
    settled: bool = True
    cpus: tuple[int, ...] = ()
    rounds: int = 1
    watched: tuple[StateSample, ...] = ()
    reasons: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    operators: tuple[OperatorTime, ...] = ()


class Versus(Frozen):
    """A file measured in turns with another: its time over the other's, and what that may be.

    `low` and `high` bound the ratio with 95 % confidence (`devices.versus`).
    """

    artifact: str
    baseline: str
    device: str
    rounds: int
    ratio: float
    low: float
    high: float


class Bench(Frozen):
    """`bench.json`.

    `device_state` is each device's before its first measurement, `device_state_after` after its
    last; "unknown" is what could not be read.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created: str
    rows: tuple[BenchRow, ...]
    device_state: dict[str, dict[str, Any]] = {}
    device_state_after: dict[str, dict[str, Any]] = {}
    versus: tuple[Versus, ...] = ()


class SmokeRow(Frozen):
    """The golden inputs through one file, or its package unpacked there, on one device.

    `differing` of `values` output values differ from the golden ones, by `max_lsb` steps of the
    output's scale at most; `limit_lsb` is what the certificate allows: 0 is bit for bit. `sha256`
    is the outputs'; `file_sha256` that of the model file that ran, "" where it was not told.
    `error` says why the file did not run; the counts are 0 then, as they are with `not_run`: why
    it could not, where the device has no interpreter for it.
    """

    device: str
    file: str
    runtime: str = ""
    runtime_version: str = ""
    delegate: str = ""
    samples: int = 0
    values: int = 0
    differing: int = 0
    max_lsb: int = 0
    limit_lsb: int = 0
    sha256: str = ""
    passed: bool
    error: str = ""
    notes: tuple[str, ...] = ()
    file_sha256: str = ""
    not_run: str = ""


class Smoke(Frozen):
    """`smoke.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: str
    rows: tuple[SmokeRow, ...]

    @property
    def passed(self) -> bool:
        """Whether there are rows, and all of them passed."""
        return bool(self.rows) and all(row.passed for row in self.rows)


Model = TypeVar("Model", bound=BaseModel)


def load_json(path: Path, model: type[Model]) -> Model:
    """Read and validate one JSON file of a build directory.

    Raises:
        BuildError: the file is missing, is no JSON, or does not fit its schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BuildError(
            f"{path} is missing",
            expected=f"a build directory with {path.name}",
            found="no such file",
            remedy="run `edgewright run` or `edgewright export` first, or name another directory",
        ) from None
    except NotADirectoryError:
        raise BuildError(
            f"{path.parent} is no build directory",
            expected=f"a directory with {path.name}, as `edgewright run` leaves one",
            found="a file",
            remedy="name the directory; `edgewright inspect` shows a single file",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path} cannot be read", found=str(error)) from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BuildError(
            f"{path} is damaged or of another version",
            expected=f"{model.__name__}, schema version {SCHEMA_VERSION}",
            found=f"{where}: {first['msg']}",
            remedy="build it again with this version of edgewright",
        ) from None


def save_json(path: Path, document: BaseModel) -> None:
    """Write one JSON document, whole or not at all."""
    write_bytes(path, (json.dumps(document.model_dump(mode="json"), indent=1) + "\n").encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same directory; rename it to `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
