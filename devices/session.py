"""One device, open: measures and checks files there; each request is a fresh process."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from devices.cargo import Cargo
from devices.pinning import cores_of, taskset
from devices.runners import Launch, PythonAgent, Runner
from devices.state import DeviceState, read_state
from devices.transport import Transport
from devices.validity import problems, problems_during, remarks
from runtimes.model_file import PACKAGE_SUFFIX
from runtimes.report import (
    BenchReport,
    BenchRequest,
    InfoReport,
    Measurement,
    OperatorTime,
    ProfileRequest,
    RunReport,
    RunRequest,
    SmokeReport,
    SmokeRequest,
)

# Starting, loading and warming up, on the slowest of boards.
OVERHEAD_TIMEOUT_S = 120.0
FEED_TIMEOUT_S = 600.0


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


@dataclass(frozen=True)
class Benched:
    """A report, and the device's state before and after."""

    report: BenchReport
    before: DeviceState
    after: DeviceState

    @property
    def row(self) -> Measurement:
        """The line of a table."""
        return self.report.row


class Session:
    """One device, with what runs requests there.

    Args:
        transport: the link; the session closes it.
        python: the program to run our agent with, as the device names it.
        runner: what runs requests in place of that agent.
        name: what reports call the device; None is the link's name.
        pin: the cores that measurements run on: "big", "little", or numbers such as "0,1".
    """

    def __init__(
        self,
        transport: Transport,
        python: str = sys.executable,
        *,
        runner: Runner | None = None,
        name: str | None = None,
        pin: str | None = None,
    ) -> None:
        self.transport = transport
        self._runner = runner or PythonAgent(transport, Cargo(transport), python)
        self._pin = pin
        self.name = name or transport.name

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
        self.transport.close()

    def state(self) -> DeviceState:
        """The state of the device now."""
        return read_state(self.transport)

    def info(self, *, timeout_s: float = OVERHEAD_TIMEOUT_S) -> InfoReport:
        """The device's Python, numpy and interpreters."""
        return self._runner.info(Launch(timeout_s))

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
    ) -> Benched:
        """Measure a file; the row is not valid where the device's state speaks against it.

        `timeout_s` None allows 10 times `seconds`, and what starting and warming up takes.
        """
        request = BenchRequest(
            str(path), runtime, threads, delegate, seconds, min_runs, seed, self.name
        )
        before = self.state()
        cpus = cores_of(self._pin, before) if self._pin is not None else ()
        limit_s = timeout_s if timeout_s is not None else 10 * seconds + OVERHEAD_TIMEOUT_S
        start_s = time.monotonic()
        report = self._runner.bench(request, Launch(limit_s, taskset(cpus)))
        elapsed_s = time.monotonic() - start_s
        after = self.state()
        found = dict.fromkeys(
            (
                *problems(before, threads=threads, cpus=cpus),
                *problems(after, threads=threads, cpus=cpus, judge_load=False),
                *problems_during(
                    report.row, before, after, elapsed_s, report.cpu_s, report.window_s
                ),
            )
        )
        row = dataclasses.replace(
            report.row,
            artifact=_artifact(path, report.row.artifact),
            valid=report.row.valid and not found,
            reasons=(*report.row.reasons, *(one.reason for one in found)),
            remedies=(*report.row.remedies, *(one.remedy for one in found)),
            notes=(
                *(f"{one.reason}: {one.remedy}" for one in found),
                *report.row.notes,
                *remarks(before),
            ),
        )
        return Benched(dataclasses.replace(report, row=row), before, after)

    def profile(
        self, path: Path, *, runtime: str = "auto", threads: int = 1
    ) -> tuple[tuple[OperatorTime, ...], tuple[str, ...]]:
        """The operators' times by the runtime's profiler, slowest first; or none, and why."""
        request = ProfileRequest(str(path), runtime, threads)
        report = self._runner.profile(request, Launch(FEED_TIMEOUT_S))
        return report.operators, report.notes

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
        request = RunRequest(
            str(path),
            runtime,
            threads,
            delegate,
            **dataclasses.asdict(feeding),
            inputs=str(inputs),
            outputs=None if outputs is None else str(outputs),
        )
        report = self._runner.run(request, Launch(timeout_s))
        return dataclasses.replace(report, artifact=_artifact(path, report.artifact))

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
        request = SmokeRequest(
            str(path),
            runtime,
            threads,
            delegate,
            **dataclasses.asdict(feeding),
            golden=str(golden),
        )
        report = self._runner.smoke(request, Launch(timeout_s))
        return dataclasses.replace(report, artifact=_artifact(path, report.artifact))


def _artifact(path: Path, there: str) -> str:
    """The file's name here: there, two files of one name have two; a package's content has its."""
    return there if path.suffix == PACKAGE_SUFFIX else path.name


def open_device(
    name: str = "local", *, python: str | None = None, pin: str | None = None
) -> Session:
    """Open a device by its name in devices.toml, or its address; see `devices.config`.

    Args:
        name: "local", "ssh://user@host", "adb:SERIAL", or a name that is configured.
        python: the Python there to run the agent with.
        pin: the cores to measure on.

    Raises:
        UnknownDeviceError: no such device.
        LinkError: it cannot be reached.
    """
    from devices.config import find_device, load_devices

    device = find_device(name, load_devices())
    changes = {"python": python, "pin": pin}
    return device.changed({key: value for key, value in changes.items() if value}).open()
