"""What is wrong with a device, and the command that mends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from devices.bundle import build_command
from devices.config import NATIVE, PYTHON, Device
from devices.errors import AgentError, DeviceTimeoutError
from devices.install import ARM_32, install_command, onnx_packages, tflite_packages
from devices.profile import load_profile, profile_of
from devices.session import Session
from devices.state import DeviceState
from devices.transport import Transport
from devices.validity import problems, remarks
from runtimes.errors import EdgewrightError, MissingRuntimeError
from runtimes.report import InfoReport

Level = Literal["good", "warning", "bad"]
LEAST_PYTHON = (3, 9)
LEAST_FREE_BYTES = 100_000_000
ARM = ("aarch64", *ARM_32)
CRASHING = "2.14"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do where it is not good."""

    level: Level
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """All findings of one device; `error` is why there are no more."""

    device: Device
    findings: tuple[Finding, ...]
    error: EdgewrightError | None = None

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 something is missing, else the code of the error that ended it."""
        if self.error is not None:
            return self.error.exit_code
        return int(any(finding.level == "bad" for finding in self.findings))


def examine(device: Device) -> Examination:
    """Look at a device from the link to its interpreters; never raises for what is wrong there."""
    findings: list[Finding] = []
    try:
        findings += _tools(device)
        with device.open() as session:
            findings.append(Finding("good", f"the link stands: {device.address}"))
            state = session.state()
            for part in (
                _system(session, state),
                _state(device, state),
                _agent(device, session, state),
            ):
                findings += part
    except EdgewrightError as error:
        findings.append(Finding("bad", _one_line(error), error.remedy))
        return Examination(device, tuple(findings), error)
    return Examination(device, tuple(findings))


def _one_line(error: EdgewrightError) -> str:
    return f"{error.problem} ({error.found})" if error.found else error.problem


def _tools(device: Device) -> Iterator[Finding]:
    kind = device.address.partition(":")[0]
    tool = {"ssh": "ssh", "adb": device.adb}.get(kind)
    if tool is None:
        return
    path = shutil.which(tool)
    if path is None:
        package = "openssh-client" if kind == "ssh" else "adb"
        yield Finding("bad", f"{tool} is missing on this machine", f"install {package}")
    else:
        yield Finding("good", f"{kind} is {path}")


def _system(session: Session, state: DeviceState) -> Iterator[Finding]:
    parts = (state.model, state.soc, state.os, state.machine)
    yield Finding(
        "good", ", ".join(part for part in parts if part) or "a device that tells nothing"
    )
    transport: Transport = session.transport
    if transport.run(["sh", "-c", "command -v taskset"], timeout_s=30).returncode != 0:
        yield Finding("warning", "there is no taskset: --pin cannot work", "install util-linux")
    shown = transport.run(["df", "-k", "."], timeout_s=30).stdout.splitlines()
    words = shown[-1].split() if shown else []
    if len(words) >= 4 and words[-3].isdigit():
        free = int(words[-3]) * 1024
        level: Level = "good" if free >= LEAST_FREE_BYTES else "bad"
        remedy = "" if level == "good" else "free space, or name another workdir in devices.toml"
        yield Finding(level, f"{_size(free)} are free in {transport.workdir}", remedy)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _state(device: Device, state: DeviceState) -> Iterator[Finding]:
    profile = load_profile(device.profile) if device.profile is not None else profile_of(state)
    if profile is not None:
        yield Finding("good", f"profile: {profile.name}")
        for text in profile.contradictions(state):
            yield Finding("warning", text, "see the profile's sources, or name another profile")
    for problem in problems(state):
        yield Finding("warning", problem.reason, problem.remedy)
    for text in remarks(state):
        yield Finding("warning", text)


def _agent(device: Device, session: Session, state: DeviceState) -> Iterator[Finding]:
    try:
        info = session.info()
    except MissingRuntimeError as error:
        if device.runner != PYTHON:
            raise
        packages = (*tflite_packages(state.machine), *onnx_packages(state.machine))
        remedy = install_command(device, session.transport, packages)
        yield Finding("bad", _one_line(error), remedy)
    except EdgewrightError as error:
        if device.runner != PYTHON:
            raise
        yield Finding("bad", _one_line(error), _start_python(error))
    else:
        if info.python:
            yield from _python(info)
        yield from _interpreters(device, session, info)


def _start_python(error: EdgewrightError) -> str:
    """What to do where the agent gives no answer."""
    told = error.remedy if isinstance(error, (AgentError, DeviceTimeoutError)) else ""
    python = told or "install Python 3.9 or newer, or name another: python in devices.toml"
    return f'{python}; or without Python: edgewright devices build-runner, and runner = "native"'


def _python(info: InfoReport) -> Iterator[Finding]:
    version = tuple(int(part) for part in info.python.split(".")[:2])
    level: Level = "good" if version >= LEAST_PYTHON else "bad"
    remedy = "" if level == "good" else "install Python 3.9 or newer"
    yield Finding(level, f"Python {info.python}, numpy {info.numpy}", remedy)


def _interpreters(device: Device, session: Session, info: InfoReport) -> Iterator[Finding]:
    found = {one.name: one for one in info.interpreters if one.version is not None}
    for one in found.values():
        yield Finding("good", f"{one.name} {one.version}")
    old = found.get("tflite_runtime")
    if old is not None and str(old.version).startswith(CRASHING) and info.machine in ARM:
        yield _crashing(device, session, info)
    for problem in (
        one.problem for one in info.interpreters if one.version is None and "numpy" in one.problem
    ):
        yield Finding("warning", f"an interpreter does not start: {problem}")
    if not {"litert", "tflite_runtime", "tensorflow", "benchmark_model"} & set(found):
        remedy = _mend(device, session, info, tflite_packages(info.machine))
        yield Finding("bad", "no interpreter for .tflite files", remedy)
    if "onnxruntime" not in found and "benchmark_model" not in found:
        level: Level = "warning" if found else "bad"
        remedy = _mend(device, session, info, onnx_packages(info.machine))
        yield Finding(level, "no interpreter for .onnx and .ort files", remedy)


def _crashing(device: Device, session: Session, info: InfoReport) -> Finding:
    """The warning of an interpreter that runs most files, and of what to do about it."""
    remedy = (
        "edgewright smoke tells whether your file runs here; a 64-bit system has ai-edge-litert"
        if info.machine in ARM_32
        else install_command(device, session.transport, tflite_packages(info.machine))
    )
    what = "tflite-runtime 2.14 was seen to crash on ARM on dense layers with a scale per channel"
    return Finding("warning", what, remedy)


def _mend(device: Device, session: Session, info: InfoReport, packages: Sequence[str]) -> str:
    if device.runner == NATIVE:
        return build_command(info.machine)
    if not packages:
        return "there is none for 32-bit systems: ship the .tflite file to this one"
    return install_command(device, session.transport, packages)
