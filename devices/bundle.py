"""The native runner's bundle: the program, its loader, and the libraries of its interpreters."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError
from runtimes.errors import MissingRuntimeError
from runtimes.report import SCHEMA_VERSION

MANIFEST = "bundle.json"
PROGRAM = "runner"
TFLITE, LITERT, ORT = "libLiteRtRuntimeCApi.so", "libLiteRt.so", "libonnxruntime.so.1"
# The libraries of which one runs such a file.
LIBRARIES_OF = {".tflite": (TFLITE, LITERT), ".onnx": (ORT,), ".ort": (ORT,)}
# `uname -m` of a device, and the target that serves it.
TARGETS = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64"}


@dataclass(frozen=True)
class Bundle:
    """A directory with a runner for one kind of machine.

    Attributes:
        directory: where it lies on this machine.
        target: the kind of machine, as its `uname -m` says.
        loader: the dynamic loader's file name.
        base: the files that every run needs: loader, program, C and C++ libraries.
        interpreters: the libraries of interpreters in it.
    """

    directory: Path
    target: str
    loader: str
    base: tuple[str, ...]
    interpreters: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs the program, in the directory that holds the files."""
        return (f"./{self.loader}", "--library-path", ".", f"./{PROGRAM}")

    def libraries_for(self, path: Path) -> tuple[str, ...]:
        """The interpreter's libraries for a model file.

        Raises:
            MissingRuntimeError: the bundle was built without it.
        """
        serving = LIBRARIES_OF.get(path.suffix.lower(), ())
        found = tuple(library for library in serving if library in self.interpreters)
        if found or not serving:
            return found
        raise MissingRuntimeError(
            f"the native runner has no interpreter for {path.name}",
            expected=" or ".join(serving),
            found=", ".join(self.interpreters) or "no interpreter",
            remedy=build_command(self.target),
        )


def build_command(machine: str) -> str:
    """The command that builds the runner for a kind of machine."""
    return f"edgewright devices build-runner --target {TARGETS.get(machine, 'aarch64')}"


def default_directory(target: str) -> Path:
    """Where bundles are kept for this user."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "edgewright" / "runners" / target


def load_bundle(directory: Path) -> Bundle:
    """The bundle in a directory.

    Raises:
        MissingRuntimeError: there is none, or one of another version.
    """
    try:
        fields = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        version = fields.pop("schema_version")
        lists = {key: tuple(fields.pop(key)) for key in ("base", "interpreters")}
        bundle = Bundle(directory, fields["target"], fields["loader"], **lists)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingRuntimeError(
            f"there is no native runner in {directory}",
            found=str(error),
            remedy=build_command(directory.name),
        ) from None
    if version != SCHEMA_VERSION:
        raise MissingRuntimeError(
            f"the native runner in {directory} is of another version",
            expected=f"schema version {SCHEMA_VERSION}",
            found=str(version),
            remedy=build_command(bundle.target),
        )
    return bundle


def bundle_for(machine: str | None) -> Bundle:
    """The bundle for a device whose `uname -m` is `machine`.

    Raises:
        DeviceError: no runner can be built for it.
        MissingRuntimeError: it has not been built yet.
    """
    target = TARGETS.get(machine or "")
    if target is None:
        raise DeviceError(
            f"there is no native runner for '{machine or 'an unknown machine'}'",
            expected=" or ".join(sorted(set(TARGETS.values()))),
            remedy="install a Python there, or name benchmark_model as the runner",
        )
    return load_bundle(default_directory(target))
