"""The same hashes on other CPUs: the shipped files under qemu's user mode emulation.

What a kernel computes depends on the instructions that the CPU has: with AVX2 but no VNNI, ONNX
Runtime's u8 by s8 products saturate at 16 bits; XNNPACK has kernels of its own for single Arm
cores. The CPUs here stand for the ways that differ. An x86-64 one runs this very Python; an Arm one
runs the Python of an arm64 root (`exporter.verify.arm64_root`) with the same interpreters.
qemu's "max" CPUs are none of them: it gets the newest Arm instructions wrong.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devices.local import LocalTransport
from devices.session import Session
from devices.transport import Result
from exporter.build import (
    GOLDEN,
    MANIFEST,
    Artifact,
    Certificate,
    CpuComparison,
    Manifest,
    load_json,
)
from exporter.errors import EdgewrightError, EmulationError
from exporter.progress import Reporter, Silent
from exporter.verify import arm64_root, boards
from exporter.verify.certificate import certify
from exporter.verify.parity import Route, routes, run_artifact
from runtimes.values import Array, compare, load_arrays, sha256_of

TIMEOUT_S: Final = 3600.0  # for one file: emulation is 75 to 600 times slower
PINS: Final = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that choose numpy's kernels for this machine's CPU, whatever the emulated one has."""
REMEDY: Final = "install what is missing, or name the CPUs that are wanted with --cpu"


@dataclass(frozen=True)
class Cpu:
    """A CPU to emulate: qemu's name for it, and what it stands for.

    `board` is the one that an Arm core sits on; None for x86-64.
    """

    name: str
    features: str
    board: boards.Board | None = None


CPUS: Final = (
    Cpu("Haswell", "x86-64, AVX2, no VNNI"),
    Cpu("Nehalem", "x86-64, SSE4.2"),
    Cpu("cortex-a53", "arm64 (Pi 3)", boards.PI_3),
    Cpu("cortex-a72", "arm64 (Pi 4)", boards.PI_4),
    Cpu("cortex-a76", "arm64 (Pi 5)", boards.PI_5),
)


@dataclass(frozen=True)
class _Job:
    cpu: Cpu
    route: Route
    artifact: Artifact


@dataclass(frozen=True)
class _Golden:
    """The inputs as an npz file, and the outputs that they gave here, in canonical form."""

    inputs: Path
    outputs: tuple[Array, ...]
    samples: int


class EmulatedTransport(LocalTransport):
    """This machine with every command run by an emulator.

    Args:
        name: what reports call the device.
        emulator: the argv in front of each command.
    """

    def __init__(self, name: str, emulator: Sequence[str]) -> None:
        super().__init__()
        self.name = name
        self._emulator = tuple(emulator)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Result:
        """Run a command under the emulator; see `Transport`."""
        return super().run([*self._emulator, *argv], timeout_s=timeout_s, stdin=stdin)


def cpus_named(names: Sequence[str]) -> tuple[Cpu, ...]:
    """The CPUs of these names; all of them for none.

    Raises:
        EdgewrightError: a name is unknown.
    """
    known = {cpu.name: cpu for cpu in CPUS}
    for name in names:
        if name not in known:
            raise EdgewrightError(
                f"there is no CPU '{name}' to emulate",
                expected="one of " + ", ".join(known),
                found=f"'{name}'",
            )
    return tuple(known[name] for name in names) or CPUS


@contextmanager
def emulate(cpu: Cpu, root: Path | None = None) -> Iterator[Session]:
    """Open an emulated CPU as a device.

    Args:
        cpu: which one.
        root: an arm64 root, for an Arm CPU.

    Raises:
        EmulationError: it cannot be emulated here.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-view-") as folder:
        if cpu.board is None:
            argv = this_python_on(cpu)
        elif root is None:
            raise EmulationError(f"{cpu.name} needs an arm64 root, and none is given")
        else:
            arm64_root.check_root(root)
            view = arm64_root.make_view(root, cpu.board, Path(folder))
            argv = arm64_root.prefix(view, cpu.board)
        with Session(EmulatedTransport(cpu.name, argv[:-1]), argv[-1]) as session:
            yield session


def compare_on_cpus(
    directory: Path,
    cpus: Sequence[Cpu] = CPUS,
    *,
    root: Path | None = None,
    samples: int | None = None,
    mixed: bool = False,
    reporter: Reporter | None = None,
) -> tuple[CpuComparison, ...]:
    """Run a build's int8 files on emulated CPUs and compare with what they gave here.

    Where a CPU cannot be emulated, or a file fails on it, the row says so and why.

    Args:
        directory: a build directory with its manifest and golden inputs and outputs.
        cpus: which CPUs.
        root: an arm64 root; None makes one in the user's cache, where an Arm CPU is asked for.
        samples: only the first so many golden inputs; None takes them all.
        mixed: whether single layers of an int8 build are int16; rows then name their kernels.
        reporter: told of the progress.

    Raises:
        EdgewrightError: the manifest or the golden inputs are missing or damaged.
    """
    reporter = reporter if reporter is not None else Silent()
    manifest = load_json(directory / MANIFEST, Manifest)
    jobs = [
        _Job(cpu, route, artifact)
        for cpu in cpus
        for route in routes(manifest.activations, mixed=mixed)
        for artifact in manifest.artifacts
        if route.decides and (artifact.format, artifact.precision) == (route.format, "int8")
    ]
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        golden = _golden(directory / GOLDEN, Path(folder, "inputs.npz"), samples)
        arm64 = _prepare(cpus, root, reporter)
        return tuple(_run_all(jobs, directory, golden, arm64, reporter))


def certify_on_cpus(
    directory: Path,
    cpus: Sequence[Cpu] = CPUS,
    *,
    root: Path | None = None,
    samples: int | None = None,
    reporter: Reporter | None = None,
) -> Certificate:
    """The certificate of a build with its files run on emulated CPUs, too.

    A differing value takes the clean verdict away; a CPU that did not run does not, and its rows
    say so (see `check_all_ran`). Arguments and errors are those of `compare_on_cpus` and
    `exporter.verify.certificate.certify`.
    """
    certificate = certify(directory, reporter)
    mixed = bool(certificate.int16_operators)
    rows = compare_on_cpus(
        directory, cpus, root=root, samples=samples, mixed=mixed, reporter=reporter
    )
    verdict = "differs" if any(row.differing for row in rows) else certificate.verdict
    return certificate.model_copy(update={"cpus": rows, "verdict": verdict})


def check_all_ran(rows: Sequence[CpuComparison]) -> None:
    """Refuse a silence: what was asked for and not run.

    Raises:
        EmulationError: names each CPU that did not run every file, and why.
    """
    reasons = {row.cpu: row.not_run for row in rows if row.not_run}
    if reasons:
        raise EmulationError(
            f"NOT VERIFIED on {', '.join(reasons)}",
            expected="every file run on every CPU that was asked for",
            found="; ".join(dict.fromkeys(reasons.values())),
            remedy=REMEDY,
        )


def this_python_on(cpu: Cpu) -> list[str]:
    """The command that runs this Python on an emulated x86-64 CPU.

    Raises:
        EmulationError: qemu is missing, or this is no Linux on x86-64.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise EmulationError(
            f"{cpu.name} cannot be emulated here",
            expected="Linux on x86-64, since its own Python is what runs",
            found=f"{platform.system()} on {platform.machine()}",
        )
    qemu = arm64_root.find_tool("qemu-x86_64-static", "qemu-user-static")
    unset = [part for name in PINS for part in ("-U", name)]
    return [qemu, "-cpu", cpu.name, *unset, sys.executable]


def _golden(path: Path, inputs_path: Path, samples: int | None) -> _Golden:
    """Read the golden arrays, cut to `samples`, and write the inputs alone to `inputs_path`."""
    import numpy as np

    arrays = {name: array[:samples] for name, array in load_arrays(str(path)).items()}
    inputs = {name: array for name, array in arrays.items() if name.startswith("input.")}
    outputs = tuple(arrays[f"output.{index}"] for index in range(len(arrays) - len(inputs)))
    np.savez(inputs_path, allow_pickle=False, **inputs)
    return _Golden(inputs_path, outputs, len(outputs[0]))


def _prepare(
    cpus: Sequence[Cpu], root: Path | None, reporter: Reporter
) -> Path | EmulationError | None:
    """The root for Arm CPUs, or why there is none; None where none is needed."""
    if root is not None or all(cpu.board is None for cpu in cpus):
        return root
    with reporter.stage("arm64 root", 1):
        try:
            arm64_root.find_tool(arm64_root.QEMU, "qemu-user-static")
            recipe = arm64_root.Recipe(targets=(arm64_root.runtimes_target(),))
            return arm64_root.make_root(arm64_root.default_cache(), recipe)
        except EmulationError as error:
            return error


def _run_all(
    jobs: Sequence[_Job],
    directory: Path,
    golden: _Golden,
    arm64: Path | EmulationError | None,
    reporter: Reporter,
) -> list[CpuComparison]:
    """Run the jobs, as many at once as there are cores; gives the rows in the jobs' order."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    with (
        reporter.stage("emulated CPUs", len(jobs)) as advance,
        ThreadPoolExecutor(cores) as pool,
    ):
        futures: list[Future[CpuComparison]] = [
            pool.submit(_run, job, directory, golden, arm64) for job in jobs
        ]
        try:
            for future in as_completed(futures):
                row = future.result()
                advance(1, f"{row.cpu} {row.artifact}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _run(
    job: _Job, directory: Path, golden: _Golden, arm64: Path | EmulationError | None
) -> CpuComparison:
    row = CpuComparison(
        cpu=job.cpu.name,
        features=job.cpu.features,
        artifact=job.artifact.name,
        runtime=job.route.label,
        samples=golden.samples,
    )
    try:
        if isinstance(arm64, EmulationError):
            if job.cpu.board is not None:
                raise arm64
            arm64 = None
        with emulate(job.cpu, arm64) as session:
            outputs, delegate = run_artifact(
                session,
                directory / job.artifact.path,
                job.artifact,
                golden.inputs,
                job.route.delegate,
                timeout_s=TIMEOUT_S,
            )
    except EdgewrightError as error:
        return row.model_copy(update={"not_run": _in_one_line(error)})
    if job.route.on_xnnpack and delegate != "xnnpack":
        return row.model_copy(update={"not_run": f"XNNPACK was not applied, but '{delegate}'"})
    difference = compare(outputs, golden.outputs)
    return row.model_copy(
        update={
            "sha256": sha256_of(outputs),
            "values": difference.values,
            "differing": difference.differing,
            "max_lsb": difference.max_lsb,
        }
    )


def _in_one_line(error: EdgewrightError) -> str:
    parts = (error.problem, error.found, error.remedy and f"to do: {error.remedy}")
    return "; ".join(" ".join(part.split()) for part in parts if part)
