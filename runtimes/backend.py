"""What the agent needs of an interpreter, and the choice of one for a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from runtimes.errors import ModelError
from runtimes.report import OperatorTime, TensorSpec
from runtimes.values import Array


class Backend(Protocol):
    """One loaded model. Inputs and outputs are in the file's own order, types and layouts."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, as loaded."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, as loaded."""

    def resize(self, batch: int) -> None:
        """Make room for `batch` samples at once; may raise ModelError."""

    def set_inputs(self, arrays: Sequence[Array]) -> None:
        """Give the inputs, one array each."""

    def invoke(self) -> None:
        """Run the model once: this call alone is what is timed."""

    def get_outputs(self) -> list[Array]:
        """Copies of the outputs of the last run."""

    def delegate(self) -> tuple[str, tuple[str, ...]]:
        """Which delegate runs the model ("none": the interpreter's own kernels), and notes."""

    def close(self) -> None:
        """Let the model go."""


class Runtime(Protocol):
    """An imported interpreter, ready to load models."""

    @property
    def name(self) -> str:
        """One of runtimes.report.RUNTIMES, but not "auto"."""

    @property
    def version(self) -> str:
        """The version that the interpreter's package tells."""

    def load(self, path: Path, threads: int, delegate: str) -> Backend:
        """Load a model; raises ModelError with what the interpreter said."""

    def arena_bytes(self, path: Path) -> int | None:
        """What the interpreter's own kernels share for activations; None: it does not tell."""

    def profile(
        self, path: Path, threads: int, runs: int, seed: int
    ) -> tuple[tuple[OperatorTime, ...], tuple[str, ...]]:
        """The operators' times over `runs` runs, slowest first; or none, and a note why."""


def find_runtime(path: Path, runtime: str = "auto") -> Runtime:
    """Import the interpreter for a file: by its suffix, or the one that is named.

    Raises:
        ModelError: the file is missing, of no known kind, or not for the interpreter named.
        MissingRuntimeError: the interpreter is not installed, or cannot be imported.
    """
    if not path.is_file():
        raise ModelError(f"{path.name} is missing", expected=f"a model file at {path}")
    suffix = path.suffix.lower()
    if suffix == ".tflite" and runtime != "onnxruntime":
        from runtimes.tflite import import_tflite

        return import_tflite(runtime)
    if suffix in (".onnx", ".ort") and runtime in ("auto", "onnxruntime"):
        from runtimes.ort import import_onnxruntime

        return import_onnxruntime()
    raise ModelError(
        f"{path.name} is no file for the runtime '{runtime}'",
        expected=".tflite for litert, tflite_runtime and tensorflow; .onnx, .ort for onnxruntime",
        found=f"the suffix '{path.suffix}'",
    )


def open_model(
    path: Path, runtime: str = "auto", threads: int = 1, delegate: str = "default"
) -> Backend:
    """Load a model with the interpreter for it; see `find_runtime` for what it raises."""
    return find_runtime(path, runtime).load(path, threads, delegate)


def own_batch(backend: Backend) -> int:
    """The batch that a file was made with; 1 where it is dynamic."""
    for spec in backend.inputs:
        if spec.shape and spec.shape[0] is not None:
            return spec.shape[0]
    return 1


def random_inputs(specs: Sequence[TensorSpec], batch: int, seed: int) -> list[Array]:
    """Random arrays that fit the specs: any integers of 8 bits, or floats in [0, 1).

    Raises:
        ModelError: a dimension other than the batch is dynamic, or a type has no random form.
    """
    generator = np.random.default_rng(seed)
    return [_random_input(spec, batch, generator) for spec in specs]


def _random_input(spec: TensorSpec, batch: int, generator: np.random.Generator) -> Array:
    if None in spec.shape[1:]:
        raise ModelError(
            f"input '{spec.name}' has a dynamic dimension beside the batch",
            found=f"shape {list(spec.shape)}",
            remedy="export the model with static shapes",
        )
    shape = tuple(batch if size is None else size for size in spec.shape)
    if spec.dtype in ("int8", "uint8"):
        limits = np.iinfo(spec.dtype)
        return generator.integers(limits.min, limits.max + 1, shape, dtype=spec.dtype)
    if spec.dtype in ("float32", "float16"):
        return generator.random(shape).astype(spec.dtype)
    raise ModelError(
        f"input '{spec.name}' is of a type that an image model does not have",
        expected="uint8, int8, float32 or float16",
        found=spec.dtype,
    )


def check_inputs(specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> None:
    """Refuse arrays of another number, type or shape than the model takes.

    Raises:
        ModelError: with what the model takes and what it was given.
    """
    fits = len(specs) == len(arrays) and all(
        array.dtype.name == spec.dtype
        and array.ndim == len(spec.shape)
        and all(size in (None, given) for size, given in zip(spec.shape, array.shape))
        for spec, array in zip(specs, arrays)
    )
    if not fits:
        raise ModelError(
            "the inputs do not fit the model",
            expected="; ".join(f"{spec.name}: {spec.dtype} {list(spec.shape)}" for spec in specs),
            found="; ".join(f"{array.dtype.name} {list(array.shape)}" for array in arrays),
            remedy="4-D arrays are NHWC: name the input layout NCHW where the file has that",
        )
