"""The native runner: our C program with its interpreters' libraries and its own loader.

It needs nothing of the device but a kernel: `./ld-linux-aarch64.so.1 --library-path . ./runner`
runs where there is no libc, such as on Android. Arrays travel raw, and are compared here.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.agent import read_answer
from devices.bundle import Bundle
from devices.cargo import Cargo
from devices.runners import Launch, Report
from devices.transport import Transport
from runtimes.errors import ModelError
from runtimes.model_file import PACKAGE_SUFFIX, sha256_of_file
from runtimes.report import (
    BenchReport,
    BenchRequest,
    FeedRequest,
    InfoReport,
    Measurement,
    OpenRequest,
    ProfileReport,
    ProfileRequest,
    RunReport,
    RunRequest,
    SmokeReport,
    SmokeRequest,
    StateSample,
    TensorSpec,
)
from runtimes.smoke import save_outputs
from runtimes.timing import notes_on, summarise
from runtimes.unpack import unpack
from runtimes.values import Array, canonical, compare, for_file, load_arrays, pick, sha256_of

NOTE = "run by the native runner"


@dataclass(frozen=True)
class Described:
    """The answer to `describe` and `run`: what the file takes and gives."""

    runtime: str
    runtime_version: str
    delegate: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Taken:
    """The answer to `bench`: a Measurement's fields before anything is computed from them."""

    runtime: str
    runtime_version: str
    delegate: str
    load_ms: float
    first_ms: float
    warmup_runs: int
    settled: bool
    cpu_s: float
    memory_before_bytes: int
    memory_loaded_bytes: int
    peak_load_bytes: int
    peak_inference_bytes: int
    pss_bytes: int | None
    samples_ms: tuple[float, ...]
    cpus: tuple[int, ...]
    watched: tuple[StateSample, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    window_s: float = 0.0  # unknown, of a runner that was built before it told


class NativeRunner:
    """The C program on a device; see `devices.runners.Runner`."""

    def __init__(self, transport: Transport, cargo: Cargo, bundle: Bundle) -> None:
        self._transport = transport
        self._cargo = cargo
        self._bundle = bundle

    def info(self, launch: Launch) -> InfoReport:
        """The device, and the interpreters of the bundle."""
        return self._ask(["info"], InfoReport, launch, self._bundle.interpreters)

    def bench(self, request: BenchRequest, launch: Launch) -> BenchReport:
        """Measure a file in a fresh process."""
        with _local_model(request) as (path, notes):
            numbers = [request.threads, request.seconds, request.min_runs, request.seed]
            words = ["bench", self._cargo.carry(path), *map(str, numbers)]
            found = self._ask(words, Taken, launch, self._libraries(path))
            row = _row(request, path, found, notes)
        return BenchReport(row, 0.0, found.cpu_s, found.window_s, found.inputs, found.outputs)

    def profile(self, request: ProfileRequest, launch: Launch) -> ProfileReport:
        """None: the C interfaces give no operators' times."""
        note = "the native runner has no profiler: name benchmark_model, or a Python there"
        return ProfileReport(Path(request.model).name, "native", "", (), (note,))

    def run(self, request: RunRequest, launch: Launch) -> RunReport:
        """Run samples, and bring the canonical outputs to `request.outputs`."""
        report, outputs = self._feed(request, load_arrays(request.inputs), launch)
        if request.outputs is not None:
            save_outputs(Path(request.outputs), outputs)
        return report

    def smoke(self, request: SmokeRequest, launch: Launch) -> SmokeReport:
        """Run the golden inputs there, and compare here."""
        golden = load_arrays(request.golden)
        report, outputs = self._feed(request, golden, launch)
        expected = pick(golden, "output", [spec.name for spec in report.outputs])
        difference = compare(outputs, expected)
        fields = {
            key: value
            for key, value in vars(report).items()
            if key in {field.name for field in dataclasses.fields(SmokeReport)}
        }
        return SmokeReport(
            **fields,
            expected_sha256=sha256_of(expected),
            values=difference.values,
            differing=difference.differing,
            max_lsb=difference.max_lsb,
            passed=difference.differing == 0,
        )

    def _feed(
        self, request: FeedRequest, arrays: dict[str, Array], launch: Launch
    ) -> tuple[RunReport, list[Array]]:
        with _local_model(request) as (path, notes):
            place, libraries = self._cargo.carry(path), self._libraries(path)
            words = ["describe", place, str(request.threads)]
            described = self._ask(words, Described, launch, libraries)
            batch = _batch(described.inputs, request)
            inputs = _inputs(arrays, described.inputs, request.input_layouts)
            count = len(inputs[0])
            raw = self._run_raw(place, request, inputs, batch, described.outputs, launch)
            outputs = [
                canonical(array[:count], layout)
                for array, layout in zip(
                    raw, request.output_layouts or [""] * len(raw), strict=True
                )
            ]
            report = RunReport(
                artifact=path.name,
                runtime=described.runtime,
                runtime_version=described.runtime_version,
                delegate=described.delegate,
                threads=request.threads,
                count=count,
                sha256=sha256_of(outputs),
                outputs=described.outputs,
                notes=(NOTE, *notes),
                model_sha256=sha256_of_file(path),
            )
        return report, outputs

    def _run_raw(
        self,
        place: str,
        request: FeedRequest,
        inputs: Sequence[Array],
        batch: int,
        outputs: Sequence[TensorSpec],
        launch: Launch,
    ) -> list[Array]:
        """Bring the inputs there and the outputs back; the last batch is filled up."""
        batches = -(-len(inputs[0]) // batch)
        given, made = [], []
        with tempfile.TemporaryDirectory(prefix="edgewright-native-") as folder:
            for index, array in enumerate(inputs):
                missing = batches * batch - len(array)
                filled = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
                file = Path(folder, f"input.{index}")
                file.write_bytes(filled.astype(array.dtype.newbyteorder("<")).tobytes())
                given.append(self._transport.push(file, file.name))
            names = [f"output.{index}" for index in range(len(outputs))]
            places = [f"{self._transport.workdir}/{name}" for name in names]
            words = ["run", place, str(request.threads), str(batches), *given, *places]
            self._ask(words, Described, launch, ())
            for name, spec in zip(names, outputs, strict=True):
                self._transport.pull(name, Path(folder, name))
                data = np.frombuffer(Path(folder, name).read_bytes(), _little(spec.dtype))
                made.append(data.reshape(batches * batch, *spec.shape[1:]))
        return made

    def _libraries(self, path: Path) -> tuple[str, ...]:
        return self._bundle.libraries_for(path)

    def _ask(
        self,
        words: Sequence[str],
        report: type[Report],
        launch: Launch,
        libraries: Sequence[str],
    ) -> Report:
        for name in (*self._bundle.base, *libraries):
            self._cargo.carry(self._bundle.directory / name)
        argv = [*launch.prefix, *self._bundle.command, *words]
        result = self._transport.run(argv, timeout_s=launch.timeout_s)
        return read_answer(result, report, "the native runner")


@contextmanager
def _local_model(request: OpenRequest) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The model file of a request on this machine, and notes: a package is unpacked here."""
    if request.delegate == "none":
        raise ModelError(
            "the native runner always lets XNNPACK take what it can",
            expected="delegate default",
            found="delegate none",
            remedy="use a Python on the device for TFLite's builtin kernels",
        )
    path = Path(request.model)
    if path.suffix != PACKAGE_SUFFIX:
        yield path, ()
        return
    with tempfile.TemporaryDirectory(prefix="edgewright-unpack-") as folder:
        yield unpack(path, Path(folder)), ("unpacked on this machine: the native runner cannot",)


def _row(request: BenchRequest, path: Path, found: Taken, notes: tuple[str, ...]) -> Measurement:
    summary = summarise(found.samples_ms)
    shared = {field.name for field in dataclasses.fields(Measurement)}
    fields = {key: value for key, value in vars(found).items() if key in shared}
    return Measurement(
        artifact=path.name,
        device=request.device,
        threads=request.threads,
        **fields,
        **dataclasses.asdict(summary),
        valid=True,
        notes=(NOTE, *notes, *notes_on(found.settled, len(found.samples_ms), summary)),
        model_bytes=path.stat().st_size,
        model_sha256=sha256_of_file(path),
    )


def _batch(inputs: Sequence[TensorSpec], request: FeedRequest) -> int:
    own = next((spec.shape[0] for spec in inputs if spec.shape and spec.shape[0]), 1)
    if request.batch not in (None, own):
        raise ModelError(
            "the native runner feeds a file in the batch that it was made with",
            expected=f"a batch of {own}",
            found=str(request.batch),
        )
    return own


def _inputs(
    arrays: dict[str, Array], specs: Sequence[TensorSpec], layouts: Sequence[str]
) -> list[Array]:
    picked = pick(arrays, "input", [spec.name for spec in specs])
    fitting = [
        for_file(array, spec.dtype, layout)
        for array, spec, layout in zip(picked, specs, layouts or [""] * len(specs), strict=True)
    ]
    for array, spec in zip(fitting, specs, strict=True):
        if array.shape[1:] != spec.shape[1:]:
            raise ModelError(
                "the inputs do not fit the model",
                expected=f"{spec.name}: {json.dumps(spec.shape)}",
                found=str(array.shape),
                remedy="4-D arrays are NHWC: name the input layout NCHW where the file has that",
            )
    return fitting


def _little(dtype: str) -> np.dtype[np.generic]:
    return np.dtype(dtype).newbyteorder("<")
