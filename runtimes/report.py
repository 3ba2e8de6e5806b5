"""What the agent is asked and what it answers: the contract of both sides, as frozen dataclasses.

A request is one JSON object: `{"action": "bench", ...the fields of BenchRequest}`. The answer is
`{"ok": true, "schema_version": 1, "action": ..., "report": {...the fields of the report}}`, or
`{"ok": false, "schema_version": 1, "error": {...}}` with "type" (the name of the class in
runtimes.errors), "message", "exit_code", and the message's parts "problem", "expected", "found" and
"remedy". The native runner (runtimes/native) takes its request as arguments and answers the same.

SCHEMA_VERSION counts up when a field goes away or changes its meaning.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from runtimes.errors import EdgewrightError

SCHEMA_VERSION = 1
RUNTIMES = ("auto", "litert", "tflite_runtime", "tensorflow", "onnxruntime")
DELEGATES = ("default", "none")
LAYOUTS = ("", "NHWC", "NCHW")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a loaded model.

    A real value is `scale * (integer - zero_point)`; both are None where the interpreter does not
    tell (ONNX Runtime) or the values are floats. `shape` has None for a dynamic dimension.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class InfoRequest:
    """What is this device, and which interpreters does it have?"""


@dataclass(frozen=True)
class OpenRequest:
    """Which file to load, and how. `delegate` "none" is TFLite's builtin kernels, no XNNPACK."""

    model: str
    runtime: str = "auto"
    threads: int = 1
    delegate: str = "default"

    def __post_init__(self) -> None:
        _require(self.runtime in RUNTIMES, "runtime", self.runtime, "one of " + ", ".join(RUNTIMES))
        _require(self.threads >= 1, "threads", self.threads, "1 or more")
        choices = "one of " + ", ".join(DELEGATES)
        _require(self.delegate in DELEGATES, "delegate", self.delegate, choices)


@dataclass(frozen=True)
class BenchRequest(OpenRequest):
    """Measure a file: at least `min_runs` runs and at least `seconds` of them, once warm."""

    seconds: float = 10.0
    min_runs: int = 50
    seed: int = 0
    device: str = "local"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.seconds >= 0, "seconds", self.seconds, "0 or more")
        _require(self.min_runs >= 1, "min_runs", self.min_runs, "1 or more")


@dataclass(frozen=True)
class ProfileRequest(OpenRequest):
    """Which operators take the time? `runs` inferences with the runtime's own profiler on."""

    runs: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.runs >= 1, "runs", self.runs, "1 or more")


@dataclass(frozen=True)
class FeedRequest(OpenRequest):
    """Run samples through a file. Layouts are the file's own, one an input or output in order.

    `batch` is how many samples go in at once; None is the file's own batch, 1 where it is dynamic.
    """

    batch: int | None = None
    input_layouts: tuple[str, ...] = ()
    output_layouts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.batch is None or self.batch >= 1, "batch", self.batch, "1 or more, or null")
        for layout in self.input_layouts + self.output_layouts:
            _require(layout in LAYOUTS, "layout", layout, 'one of "NHWC", "NCHW", ""')


@dataclass(frozen=True)
class RunRequest(FeedRequest):
    """Run every sample of the npz `inputs`; save the canonical outputs to `outputs` if named."""

    inputs: str = ""
    outputs: str | None = None


@dataclass(frozen=True)
class SmokeRequest(FeedRequest):
    """Run the golden inputs and compare with the golden outputs, bit for bit."""

    golden: str = ""


@dataclass(frozen=True)
class Interpreter:
    """One interpreter on this device: its version, or the problem that keeps it from use."""

    name: str
    version: str | None
    problem: str = ""


@dataclass(frozen=True)
class InfoReport:
    """The answer to `info`."""

    python: str
    numpy: str
    machine: str
    os: str
    cores: int | None
    interpreters: tuple[Interpreter, ...]


@dataclass(frozen=True)
class OperatorTime:
    """One operator of the graph as the runtime executes it: its kind, and ms for each inference."""

    name: str
    kind: str
    mean_ms: float


@dataclass(frozen=True)
class StateSample:
    """The device while it measured, `at_s` into the steady window; None is unknown.

    `frequency_mhz` is the highest of the cores that the process may use.
    """

    at_s: float
    frequency_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class Measurement:
    """One file measured in one runtime: the fields of `exporter.build.BenchRow`, one to one.

    Times in ms, memory in bytes. Memory is the whole process: Python, interpreter and model;
    `memory_before_bytes` is the same process with the interpreter imported and no model yet. 0 is
    unknown.

    Attributes:
        samples_ms: every run of the steady window, in order.
        model_bytes: of the file; `model_sha256` is of what was loaded.
        pss_bytes: the proportional set size once loaded; None is unknown.
        arena_bytes: what TFLite's own kernels share for activations and scratch, whichever kernels
            were timed: XNNPACK's workspace is told by nothing. None is unknown.
        warmup_runs: runs before the window; `settled` is False when they never became steady.
        cpus: the cores that the process was allowed on; empty is unknown.
        rounds: how many processes the samples come from (more than one when interleaved).
        watched: the device during the window.
        valid: False where the device's state speaks against the figures: `reasons` say why, and
            `remedies` what would mend it, one each.
        notes: for people: reasons and remedies first, then what else there is to know.
        operators: where a profile was asked for and the runtime has one.
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


@dataclass(frozen=True)
class BenchReport:
    """The answer to `bench`: the row, and what does not belong into a table.

    `window_s` is how long the steady window took, with what lies between its samples, and `cpu_s`
    the processor time in it, all threads together.
    """

    row: Measurement
    import_ms: float
    cpu_s: float
    window_s: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class ProfileReport:
    """The answer to `profile`; the notes say why there are no operators."""

    artifact: str
    runtime: str
    runtime_version: str
    operators: tuple[OperatorTime, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """The answer to `run`; `sha256` is over the outputs in canonical form (runtimes.values)."""

    artifact: str
    runtime: str
    runtime_version: str
    delegate: str
    threads: int
    count: int
    sha256: str
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()
    model_sha256: str = ""


@dataclass(frozen=True)
class SmokeReport:
    """The answer to `smoke`: `differing` of `values` output values differ, by `max_lsb` at most."""

    artifact: str
    runtime: str
    runtime_version: str
    delegate: str
    threads: int
    count: int
    sha256: str
    expected_sha256: str
    values: int
    differing: int
    max_lsb: int
    passed: bool
    notes: tuple[str, ...] = ()
    model_sha256: str = ""


T = TypeVar("T")


def decode(cls: type[T], data: object) -> T:
    """Build one of the dataclasses above from parsed JSON; unknown, missing or odd fields raise.

    Raises:
        EdgewrightError: the data do not fit the class; the message names the field.
    """
    if not isinstance(data, dict):
        raise EdgewrightError(f"{cls.__name__} must be a JSON object", found=repr(data)[:200])
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    missing = sorted(
        name
        for name, field in fields.items()
        if name not in data and field.default is dataclasses.MISSING
    )
    if unknown or missing:
        raise EdgewrightError(
            f"{cls.__name__} does not fit",
            expected="the fields " + ", ".join(fields),
            found=f"unknown {unknown}, missing {missing}",
        )
    return cls(
        **{name: _decode_value(name, str(fields[name].type), data[name]) for name in sorted(data)}
    )


def _decode_value(name: str, annotation: str, value: object) -> Any:
    if annotation.endswith(" | None"):
        return None if value is None else _decode_value(name, annotation[: -len(" | None")], value)
    if annotation.startswith("tuple["):
        _require(isinstance(value, (list, tuple)), name, value, "a list")
        inner = annotation[len("tuple[") : -len(", ...]")]
        return tuple(_decode_value(name, inner, item) for item in value)  # type: ignore[attr-defined]
    if annotation in _NESTED:
        return decode(_NESTED[annotation], value)
    _require(_SCALARS[annotation](value), name, value, annotation)
    return float(value) if annotation == "float" else value  # type: ignore[arg-type]


_NESTED: dict[str, type] = {
    cls.__name__: cls for cls in (TensorSpec, Interpreter, OperatorTime, StateSample, Measurement)
}

# A JSON true is an int to Python, but not to us.
_SCALARS: dict[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise EdgewrightError(
            f"the field '{name}' does not fit", expected=expected, found=repr(value)[:200]
        )
