"""What runs a request on a device: our agent in Python, our native runner, or benchmark_model.

Requests name files of this machine; a runner brings there what it needs. Each request is a fresh
process on the device.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from devices.agent import AGENT_NAME, build_agent, read_answer
from devices.cargo import Cargo
from devices.transport import Transport
from runtimes.report import (
    BenchReport,
    BenchRequest,
    InfoReport,
    ProfileReport,
    ProfileRequest,
    RunReport,
    RunRequest,
    SmokeReport,
    SmokeRequest,
)

INPUTS_NAME = "inputs.npz"
OUTPUTS_NAME = "outputs.npz"

Report = TypeVar("Report")


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a process is started: words before its command (taskset), and its time limit."""

    timeout_s: float
    prefix: tuple[str, ...] = ()


class Runner(Protocol):
    """Runs requests on one device; see `runtimes.report` for what they and the answers hold.

    Raises, all of them:
        ModelError, MissingRuntimeError: what the runner says of the file.
        DeviceError: the link failed, or the process died.
    """

    def info(self, launch: Launch) -> InfoReport:
        """What the device is, and which interpreters there are."""

    def bench(self, request: BenchRequest, launch: Launch) -> BenchReport:
        """Measure a file."""

    def profile(self, request: ProfileRequest, launch: Launch) -> ProfileReport:
        """The operators' times, where the runner has a profiler."""

    def run(self, request: RunRequest, launch: Launch) -> RunReport:
        """Run samples, and bring the outputs to `request.outputs`."""

    def smoke(self, request: SmokeRequest, launch: Launch) -> SmokeReport:
        """Run the golden inputs and compare."""


class PythonAgent:
    """The `runtimes` package as one file, in a Python that the device has."""

    def __init__(self, transport: Transport, cargo: Cargo, python: str) -> None:
        self._transport = transport
        self._cargo = cargo
        self._python = python
        self._agent: str | None = None

    def info(self, launch: Launch) -> InfoReport:
        """The device's Python, numpy and interpreters."""
        return self._ask("info", {}, InfoReport, launch)

    def bench(self, request: BenchRequest, launch: Launch) -> BenchReport:
        """Measure a file in a fresh process."""
        return self._ask("bench", self._fields(request), BenchReport, launch)

    def profile(self, request: ProfileRequest, launch: Launch) -> ProfileReport:
        """Profile a file in a fresh process."""
        return self._ask("profile", self._fields(request), ProfileReport, launch)

    def run(self, request: RunRequest, launch: Launch) -> RunReport:
        """Run samples; the arrays travel as npz files."""
        fields = self._fields(request)
        fields["inputs"] = self._cargo.carry(Path(request.inputs))
        if request.outputs is not None:
            fields["outputs"] = f"{self._transport.workdir}/{OUTPUTS_NAME}"
        report = self._ask("run", fields, RunReport, launch)
        if request.outputs is not None:
            self._transport.pull(OUTPUTS_NAME, Path(request.outputs))
        return report

    def smoke(self, request: SmokeRequest, launch: Launch) -> SmokeReport:
        """Compare with the golden outputs there."""
        fields = self._fields(request)
        fields["golden"] = self._cargo.carry(Path(request.golden))
        return self._ask("smoke", fields, SmokeReport, launch)

    def _fields(self, request: Any) -> dict[str, object]:
        place = self._cargo.carry(Path(request.model))
        return {**dataclasses.asdict(request), "model": place}

    def _ask(
        self, action: str, fields: dict[str, object], report: type[Report], launch: Launch
    ) -> Report:
        if self._agent is None:
            self._agent = self._push_agent()
        argv: Sequence[str] = [*launch.prefix, self._python, self._agent]
        request = json.dumps({"action": action, **fields})
        result = self._transport.run(argv, timeout_s=launch.timeout_s, stdin=request)
        return read_answer(result, report, self._python)

    def _push_agent(self) -> str:
        with tempfile.TemporaryDirectory(prefix="edgewright-push-") as scratch:
            agent = Path(scratch, AGENT_NAME)
            build_agent(agent)
            return self._transport.push(agent, AGENT_NAME)
