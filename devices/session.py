"""Measures and checks files on a device: each request is a fresh process of the agent there."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from devices.agent import AGENT_NAME, build_agent, read_answer
from devices.errors import UnknownDeviceError
from devices.local import LocalTransport
from devices.state import DeviceState, LocalMachine, Machine, problems, read_state, remarks
from devices.transport import Transport
from runtimes.errors import ModelError
from runtimes.report import BenchReport, InfoReport, RunReport, SmokeReport

# Starting, loading and warming up, on the slowest of boards.
OVERHEAD_TIMEOUT_S = 120.0
FEED_TIMEOUT_S = 600.0

INPUTS_NAME = "inputs.npz"
OUTPUTS_NAME = "outputs.npz"
GOLDEN_NAME = "golden.npz"

Progress = Callable[[int, int, Path], None]
Report = TypeVar("Report")


@dataclass(frozen=True)
class Feeding:
    """How samples go into a file.

    Layouts are the file's own, one an input or output ("NCHW" for ONNX): arrays here are NHWC.
    `batch` is how many go in at once; None is what the file was made with.
    """

    batch: int | None = None
    input_layouts: tuple[str, ...] = ()
    output_layouts: tuple[str, ...] = ()


AS_MADE = Feeding()


class Session:
    """One device, with the Python there that has the interpreters.

    Args:
        transport: the link; the session closes it.
        python: the program to run the agent with, as the device names it.
        machine: where the device's state is read; None leaves everything unknown.
    """

    def __init__(
        self,
        transport: Transport,
        python: str = sys.executable,
        *,
        machine: Machine | None = None,
    ) -> None:
        self._transport = transport
        self._python = python
        self._machine = machine
        self._agent: str | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the link; the device keeps nothing."""
        self._transport.close()

    @property
    def name(self) -> str:
        """What reports call the device."""
        return self._transport.name

    def state(self) -> DeviceState:
        """The state of the device now."""
        return DeviceState() if self._machine is None else read_state(self._machine)

    def info(self, *, timeout_s: float = OVERHEAD_TIMEOUT_S) -> InfoReport:
        """The device's Python, numpy and interpreters."""
        return self._ask("info", {}, InfoReport, timeout_s)

    def bench(
        self,
        path: Path,
        *,
        runtime: str = "auto",
        threads: int = 1,
        seconds: float = 10.0,
        min_runs: int = 50,
        delegate: str = "default",
        seed: int = 0,
        timeout_s: float | None = None,
    ) -> BenchReport:
        """Measure a file; the row is not valid where the device's state speaks against it.

        `timeout_s` None allows 10 times `seconds`, and what starting and warming up takes.
        """
        fields = {
            **self._model(path, runtime, threads, delegate),
            "seconds": seconds,
            "min_runs": min_runs,
            "seed": seed,
            "device": self.name,
        }
        before = self.state()
        limit_s = timeout_s if timeout_s is not None else 10 * seconds + OVERHEAD_TIMEOUT_S
        report = self._ask("bench", fields, BenchReport, limit_s)
        reasons = problems(before, threads=threads)
        later = problems(self.state(), threads=threads, judge_load=False)
        reasons += tuple(reason for reason in later if reason not in reasons)
        row = dataclasses.replace(
            report.row,
            valid=report.row.valid and not reasons,
            notes=(*reasons, *report.row.notes, *remarks(before)),
        )
        return dataclasses.replace(report, row=row)

    def run(
        self,
        path: Path,
        inputs: Path,
        *,
        outputs: Path | None = None,
        runtime: str = "auto",
        threads: int = 1,
        delegate: str = "default",
        feeding: Feeding = AS_MADE,
        timeout_s: float = FEED_TIMEOUT_S,
    ) -> RunReport:
        """Run every sample of the npz `inputs` through a file; save the outputs if asked to."""
        fields = {
            **self._model(path, runtime, threads, delegate),
            "inputs": self._transport.push(inputs, INPUTS_NAME),
            "outputs": None if outputs is None else f"{self._transport.workdir}/{OUTPUTS_NAME}",
            **dataclasses.asdict(feeding),
        }
        report = self._ask("run", fields, RunReport, timeout_s)
        if outputs is not None:
            self._transport.pull(OUTPUTS_NAME, outputs)
        return report

    def smoke(
        self,
        path: Path,
        golden: Path,
        *,
        runtime: str = "auto",
        threads: int = 1,
        delegate: str = "default",
        feeding: Feeding = AS_MADE,
        timeout_s: float = FEED_TIMEOUT_S,
    ) -> SmokeReport:
        """Run the golden inputs through a file and compare, bit for bit."""
        fields = {
            **self._model(path, runtime, threads, delegate),
            "golden": self._transport.push(golden, GOLDEN_NAME),
            **dataclasses.asdict(feeding),
        }
        return self._ask("smoke", fields, SmokeReport, timeout_s)

    def _model(self, path: Path, runtime: str, threads: int, delegate: str) -> dict[str, object]:
        if not path.is_file():
            raise ModelError(f"{path} is missing", expected="a model file")
        return {
            "model": self._transport.push(path, path.name),
            "runtime": runtime,
            "threads": threads,
            "delegate": delegate,
        }

    def _ask(
        self, action: str, fields: dict[str, object], report: type[Report], timeout_s: float
    ) -> Report:
        if self._agent is None:
            self._agent = self._push_agent()
        request = json.dumps({"action": action, **fields})
        result = self._transport.run(
            [self._python, self._agent], timeout_s=timeout_s, stdin=request
        )
        return read_answer(result, report, self._python)

    def _push_agent(self) -> str:
        with tempfile.TemporaryDirectory(prefix="edgewright-push-") as scratch:
            agent = Path(scratch, AGENT_NAME)
            build_agent(agent)
            return self._transport.push(agent, AGENT_NAME)


def open_device(name: str = "local", *, python: str | None = None) -> Session:
    """Open a device by its name.

    Args:
        name: "local", this machine.
        python: the Python there to run the agent with; None is this one.

    Raises:
        UnknownDeviceError: no such device.
    """
    if name == "local":
        return Session(LocalTransport(), python or sys.executable, machine=LocalMachine())
    raise UnknownDeviceError(
        f"there is no device '{name}'",
        expected="the name of a device",
        found=f"'{name}'",
        remedy="use one of those available: local",
    )


def bench_files(
    session: Session,
    paths: Sequence[Path],
    *,
    threads: int = 1,
    seconds: float = 10.0,
    min_runs: int = 50,
    delegate: str = "default",
    progress: Progress | None = None,
) -> list[BenchReport]:
    """Measure files one after the other; `progress(done, total, path)` comes after each."""
    reports = []
    for done, path in enumerate(paths, start=1):
        reports.append(
            session.bench(
                path, threads=threads, seconds=seconds, min_runs=min_runs, delegate=delegate
            )
        )
        if progress is not None:
            progress(done, len(paths), path)
    return reports
