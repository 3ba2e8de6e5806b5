"""Builds the native runner for a kind of machine, and gathers its bundle.

The program is compiled here (a cross compiler where the target is another machine); its loader and
C libraries come with that compiler, the interpreters' libraries out of their own wheels.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import runtimes
from devices.bundle import LITERT, MANIFEST, ORT, PROGRAM, TFLITE, Bundle, load_bundle
from devices.errors import DeviceError, MissingToolError
from devices.process import run_process
from runtimes.errors import EdgewrightError
from runtimes.report import SCHEMA_VERSION

SOURCES = Path(runtimes.__file__).parent / "native"
PYTHON_VERSION = "311"
COMPILE_TIMEOUT_S = 120.0
DOWNLOAD_TIMEOUT_S = 900.0
MANYLINUX = ("manylinux_2_17", "manylinux2014", "manylinux_2_27", "manylinux_2_28")


@dataclass(frozen=True)
class Wheel:
    """A package with a library of an interpreter inside."""

    requirement: str
    member: str
    library: str


@dataclass(frozen=True)
class Target:
    """A kind of machine: its compiler, that compiler's package, its loader, and its wheels.

    `sources` are those of the interpreters that its wheels hold.
    """

    name: str
    compilers: tuple[str, ...]
    package: str
    loader: str
    wheels: tuple[Wheel, ...]
    sources: tuple[str, ...]


# The last LiteRT wheel whose library has TensorFlow Lite's C API, on aarch64 alone.
TFLITE_WHEEL = Wheel("ai-edge-litert==2.0.3", "ai_edge_litert/libLiteRtRuntimeCApi.so", TFLITE)
# LiteRT's own C API, whose functions change between versions: litert.c is written for this one.
LITERT_VERSION = "2.3.0"
LITERT_WHEEL = Wheel(f"ai-edge-litert=={LITERT_VERSION}", "ai_edge_litert/libLiteRt.so", LITERT)
ONNXRUNTIME = Wheel("onnxruntime>=1.23", "onnxruntime/capi/libonnxruntime.so.", ORT)
TARGETS = {
    target.name: target
    for target in (
        Target(
            "aarch64",
            ("aarch64-linux-gnu-gcc",),
            "gcc-aarch64-linux-gnu",
            "ld-linux-aarch64.so.1",
            (TFLITE_WHEEL, ONNXRUNTIME),
            ("tflite.c", "ort.c"),
        ),
        Target(
            "x86_64",
            ("x86_64-linux-gnu-gcc", "gcc"),
            "gcc",
            "ld-linux-x86-64.so.2",
            (LITERT_WHEEL, ONNXRUNTIME),
            ("litert.c", "ort.c"),
        ),
    )
}
COMMON_SOURCES = ("main.c", "measure.c")
SYSTEM_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0"),
    *("libstdc++.so.6", "libgcc_s.so.1"),
)


def build_runner(name: str, out: Path, *, wheels: Sequence[Path] = ()) -> Bundle:
    """Compile the runner for a target and put its bundle into `out`, whole or not at all.

    Args:
        name: "aarch64" or "x86_64".
        out: the directory of the bundle; an older one there is replaced.
        wheels: the interpreters' wheels, where they are here already; pip brings the others.

    Raises:
        EdgewrightError: there is no such target.
        MissingToolError: there is no compiler for the target.
        DeviceError: it does not compile, or a wheel cannot be had.
    """
    target = TARGETS.get(name)
    if target is None:
        raise EdgewrightError(
            f"there is no target '{name}'", expected=" or ".join(TARGETS), found=name
        )
    compiler = _compiler(target)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".edgewright-runner-", dir=out.parent) as scratch:
        made, downloads = Path(scratch, "bundle"), Path(scratch, "wheels")
        made.mkdir()
        downloads.mkdir()
        _compile(compiler, target, made / PROGRAM)
        for library in (target.loader, *SYSTEM_LIBRARIES):
            shutil.copy(_file_of(compiler, library), made / library)
        (made / target.loader).chmod(0o755)
        for wheel in target.wheels:
            _extract(_wheel(wheel, target, wheels, downloads), wheel, made)
        _write_manifest(made, target)
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return load_bundle(out)


def _compiler(target: Target) -> str:
    for name in target.compilers:
        found = shutil.which(name)
        if found is not None:
            return found
    raise MissingToolError(
        f"there is no compiler for {target.name} here",
        expected=" or ".join(target.compilers),
        remedy=f"apt install {target.package}",
    )


def _compile(compiler: str, target: Target, program: Path) -> None:
    sources = [str(SOURCES / name) for name in (*COMMON_SOURCES, *target.sources)]
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", f'-DLITERT_VERSION="{LITERT_VERSION}"')
    _call(
        [compiler, *flags, "-o", str(program), *sources, "-ldl"],
        COMPILE_TIMEOUT_S,
        "the runner does not compile",
    )


def _file_of(compiler: str, library: str) -> Path:
    said = _call([compiler, f"-print-file-name={library}"], COMPILE_TIMEOUT_S, "no libraries")
    path = Path(said.strip())
    if not path.is_absolute():
        raise MissingToolError(
            f"the compiler has no {library}",
            found=said.strip(),
            remedy="apt install libstdc++6-arm64-cross libc6-arm64-cross",
        )
    return path


def _wheel(wheel: Wheel, target: Target, given: Sequence[Path], downloads: Path) -> Path:
    package = wheel.requirement.replace("-", "_")
    name = "".join(char for char in package.partition("=")[0] if char not in "><!~")
    for path in given:
        if path.name.lower().startswith(name) and path.stem.endswith(target.name):
            return path
    platforms = [word for tag in MANYLINUX for word in ("--platform", f"{tag}_{target.name}")]
    _call(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--python-version", PYTHON_VERSION),
            *platforms,
            *("--dest", str(downloads), wheel.requirement),
        ],
        DOWNLOAD_TIMEOUT_S,
        f"pip cannot get {wheel.requirement} for {target.name}",
    )
    return next(downloads.glob(f"{name}-*.whl"))


def _extract(path: Path, wheel: Wheel, made: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(wheel.member)]
        if not names:
            raise DeviceError(
                f"{path.name} has no {wheel.member}", remedy=f"use {wheel.requirement}"
            )
        (made / wheel.library).write_bytes(archive.read(names[0]))


def _write_manifest(made: Path, target: Target) -> None:
    interpreters = [wheel.library for wheel in target.wheels]
    document = {
        "schema_version": SCHEMA_VERSION,
        "target": target.name,
        "loader": target.loader,
        "base": [target.loader, PROGRAM, *SYSTEM_LIBRARIES],
        "interpreters": interpreters,
    }
    (made / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _call(argv: Sequence[str], timeout_s: float, problem: str) -> str:
    try:
        done = run_process(argv, timeout_s=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(problem, found=str(error)) from None
    if done.returncode != 0:
        raise DeviceError(problem, found=done.stderr_text[-500:])
    return done.stdout.decode()
