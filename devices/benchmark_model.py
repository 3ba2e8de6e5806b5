"""TFLite's own benchmark_model as a runner: the user's program, its text parsed.

It prints statistics and no samples: what it does not tell is bounded from above, and noted. What it
prints has changed over the years; the forms known here are those of TensorFlow's
lite/tools/benchmark/benchmark_model.cc, core/util/stats_calculator.cc and
lite/profiling/profile_summary_formatter.cc since 2018.
https://www.tensorflow.org/lite/performance/measurement
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from devices.agent import check_for_a_crash
from devices.cargo import Cargo
from devices.errors import AgentError
from devices.runners import Launch
from devices.transport import Result, Transport
from runtimes.errors import ModelError
from runtimes.model_file import sha256_of_file
from runtimes.report import (
    BenchReport,
    BenchRequest,
    InfoReport,
    Interpreter,
    Measurement,
    OperatorTime,
    ProfileReport,
    ProfileRequest,
    RunReport,
    RunRequest,
    SmokeReport,
    SmokeRequest,
)

MIB = 2**20  # its "MB" of memory are KiB over 1024
INITIALIZATION = "Profiling Info for Benchmark Initialization:"
REGULAR_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
IN_DELEGATE = "DelegateOpInvoke"  # the kind of rows whose time is in the delegate's row already


@dataclass(frozen=True)
class Statistics:
    """The last line of statistics: the steady runs, in ms. None is not told by this version."""

    count: int
    first_ms: float
    mean_ms: float
    std_ms: float
    max_ms: float
    p50_ms: float | None
    p95_ms: float | None


def parse_statistics(text: str) -> Statistics | None:
    """The numbers of `count=50 first=20185 curr=... min=... max=... avg=... std=...`, in us.

    Runs that all took as long are told as `count=50 curr=3(all same)`. A profile has such a line
    of its own, "Timings (microseconds): count=...", which has the profiler's time in it.
    """
    lines = re.findall(r"^(?:INFO: )?(count=[1-9]\d* .+)$", text, re.MULTILINE)
    if not lines:
        return None
    found = {
        key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+(?:e[+-]?\d+)?)", lines[-1])
    }
    us = {key: value / 1e3 for key, value in found.items()}
    mean_ms = us.get("avg", us.get("curr"))
    if mean_ms is None:
        return None
    first = re.search(r"First inference: ([\d.e+-]+)", text)
    same = "avg" not in us
    return Statistics(
        count=int(found["count"]),
        first_ms=float(first[1]) / 1e3 if first is not None else us.get("first", mean_ms),
        mean_ms=mean_ms,
        std_ms=us.get("std", 0.0),
        max_ms=us.get("max", mean_ms),
        p50_ms=mean_ms if same else us.get("median"),
        p95_ms=mean_ms if same else us.get("p95"),
    )


def parse_operators(text: str) -> tuple[OperatorTime, ...]:
    """The rows of the regular runs' "Run Order" tables, in ms for each inference; slowest first.

    A graph with branches or loops has a table for each of its subgraphs. What a delegate tells of
    its inside is in its own row already.
    """
    before, _, regular = text.partition(REGULAR_RUNS)
    regular = regular or before.partition(INITIALIZATION)[0]  # in 2018 there were neither
    graphs = regular.partition("Delegate internal:")[0]
    tables = re.split(r"=+ Run Order =+\s*\n", graphs)[1:]
    found = [row for table in tables for row in _operators(re.split(r"\n\s*\n", table)[0])]
    return tuple(sorted(found, key=lambda one: -one.mean_ms))


def _operators(table: str) -> list[OperatorTime]:
    """One table's rows; columns have come and gone, so that the header says where each is."""
    rows = [_cells(line) for line in table.splitlines()]
    header = rows[0] if rows else []
    wanted = ("[node type]", "[avg ms]", "[times called]", "[Name]")
    if not set(wanted) <= set(header):
        return []
    kind, avg, times, name = (header.index(column) for column in wanted)
    return [
        # The mean is of one call; versions of 2018 count 0 calls of one.
        OperatorTime(row[name], row[kind], float(row[avg]) * max(1, int(row[times])))
        for row in rows[1:]
        if len(row) == len(header) and row[kind] != IN_DELEGATE
    ]


def _cells(line: str) -> list[str]:
    """The cells of a line; tabs are between them, or the spaces that tabs have become."""
    return re.split(r"\s*\t\s*|\s{2,}", line.removeprefix("INFO: ").strip())


def parse_report(
    text: str, request: BenchRequest, model_bytes: int, model_sha256: str
) -> Measurement | None:
    """A measurement of what benchmark_model printed; None if it measured nothing."""
    found = parse_statistics(text)
    if found is None:
        return None
    notes = ["measured by benchmark_model, which keeps no samples"]
    p50_ms = found.p50_ms
    if p50_ms is None:
        p50_ms = found.mean_ms
        notes.append("p50 is the mean: this benchmark_model tells no median")
    p90_ms = found.p95_ms if found.p95_ms is not None else found.max_ms
    bound = "p95" if found.p95_ms is not None else "the maximum"
    notes.append(f"p90 is {bound} and p99 the maximum: it tells no closer bounds")
    load = re.search(r"Init(?:ialized session in |: )([\d.e+-]+)(ms)?", text)
    load_ms = 0.0 if load is None else float(load[1]) / (1 if load[2] else 1e3)
    memory = re.search(r"[Mm]emory footprint .*: init=([\d.]+) overall=([\d.]+)", text)
    init_mb, overall_mb = (float(memory[1]), float(memory[2])) if memory is not None else (0, 0)
    notes.append("memory is benchmark_model's growth since its start")
    return Measurement(
        artifact=Path(request.model).name,
        device=request.device,
        runtime="benchmark_model",
        runtime_version="unknown",
        delegate=_delegate(text),
        threads=request.threads,
        load_ms=load_ms,
        first_ms=found.first_ms,
        samples_ms=(),
        p50_ms=p50_ms,
        p90_ms=p90_ms,
        p99_ms=found.max_ms,
        mean_ms=found.mean_ms,
        std_ms=found.std_ms,
        memory_before_bytes=0,
        memory_loaded_bytes=round(init_mb * MIB),
        peak_load_bytes=round(init_mb * MIB),
        peak_inference_bytes=round(overall_mb * MIB),
        valid=True,
        notes=tuple(notes),
        model_bytes=model_bytes,
        model_sha256=model_sha256,
        operators=parse_operators(text),
    )


def _delegate(text: str) -> str:
    match = re.search(r"(?:applied|Created TensorFlow Lite) (\w+) delegate", text)
    return match[1].lower() if match is not None else "unknown"


class BenchmarkModel:
    """The user's benchmark_model; it measures .tflite files and compares nothing."""

    def __init__(self, transport: Transport, cargo: Cargo, program: Path) -> None:
        self._transport = transport
        self._cargo = cargo
        self._program = program

    def info(self, launch: Launch) -> InfoReport:
        """The device, and the one interpreter inside the program."""
        self._cargo.carry(self._program)
        names = self._transport.run(["uname", "-srm"], timeout_s=launch.timeout_s).stdout.split()
        interpreter = Interpreter("benchmark_model", "unknown")
        machine = names[-1] if names else "unknown"
        return InfoReport("", "", machine, " ".join(names[:-1]), None, (interpreter,))

    def bench(self, request: BenchRequest, launch: Launch) -> BenchReport:
        """Measure a file."""
        path = Path(request.model)
        result = self._measure(request, request.min_runs, request.seconds, launch, profile=False)
        row = parse_report(
            result.stdout + result.stderr, request, path.stat().st_size, sha256_of_file(path)
        )
        if row is None:
            raise _refused(path, result)
        return BenchReport(row, 0.0, 0.0, 0.0, (), ())

    def profile(self, request: ProfileRequest, launch: Launch) -> ProfileReport:
        """The operators' times."""
        path = Path(request.model)
        result = self._measure(request, request.runs, 0.0, launch, profile=True)
        operators = parse_operators(result.stdout + result.stderr)
        if not operators:
            raise _refused(path, result)
        return ProfileReport(path.name, "benchmark_model", "unknown", operators)

    def run(self, request: RunRequest, launch: Launch) -> RunReport:
        """Refused: benchmark_model gives no outputs."""
        raise _no_outputs(request.model)

    def smoke(self, request: SmokeRequest, launch: Launch) -> SmokeReport:
        """Refused: benchmark_model gives no outputs."""
        raise _no_outputs(request.model)

    def _measure(
        self,
        request: BenchRequest | ProfileRequest,
        runs: int,
        seconds: float,
        launch: Launch,
        *,
        profile: bool,
    ) -> Result:
        path = Path(request.model)
        if path.suffix.lower() != ".tflite":
            raise ModelError(
                f"benchmark_model cannot run {path.name}",
                expected="a .tflite file",
                remedy="use a Python on the device, or the native runner",
            )
        argv = [
            *launch.prefix,
            self._cargo.carry(self._program),
            f"--graph={self._cargo.carry(path)}",
            f"--num_threads={request.threads}",
            f"--num_runs={runs}",
            f"--min_secs={seconds:g}",
            f"--use_xnnpack={'true' if request.delegate == 'default' else 'false'}",
            f"--enable_op_profiling={'true' if profile else 'false'}",
        ]
        result = self._transport.run(argv, timeout_s=launch.timeout_s)
        check_for_a_crash(result, "benchmark_model")
        return result


def _refused(path: Path, result: Result) -> AgentError:
    said = (result.stderr.strip() or result.stdout.strip())[-200:]
    return AgentError(
        f"benchmark_model measured nothing of {path.name} (exit code {result.returncode})",
        expected="a line count=... avg=...",
        found=said or "nothing said",
        remedy="check that the program was built for this device",
    )


def _no_outputs(model: str) -> ModelError:
    return ModelError(
        f"benchmark_model cannot check {Path(model).name}",
        expected="a runner that gives outputs",
        remedy='use a Python on the device, or runner = "native"',
    )
