"""ONNX Runtime, for .onnx and .ort files; default session options except for the threads."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from runtimes.backend import check_inputs
from runtimes.errors import MissingRuntimeError, ModelError
from runtimes.report import TensorSpec
from runtimes.values import Array

_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def import_onnxruntime() -> OrtRuntime:
    """Import ONNX Runtime.

    Raises:
        MissingRuntimeError: it is not installed, or cannot be imported.
    """
    try:
        module = importlib.import_module("onnxruntime")
    except (ImportError, OSError, AttributeError) as error:
        raise MissingRuntimeError(
            "no interpreter for .onnx and .ort files can be imported here",
            expected="onnxruntime",
            found=str(error),
            remedy="pip install onnxruntime",
        ) from None
    return OrtRuntime(module)


class OrtRuntime:
    """ONNX Runtime, imported."""

    name = "onnxruntime"

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self.version = str(module.__version__)

    def load(self, path: Path, threads: int, delegate: str) -> OrtBackend:
        """Load a model onto the CPU provider. `delegate` means nothing here: a note says so."""
        options = self._module.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            session = self._module.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes share no base below Exception
            raise ModelError(
                f"onnxruntime {self.version} refuses {path.name}", found=str(error).strip()
            ) from None
        return OrtBackend(session, path.name, delegate)


class OrtBackend:
    """One ONNX Runtime session."""

    def __init__(self, session: Any, model: str, delegate: str) -> None:
        self._session = session
        self._model = model
        self._asked_delegate = delegate
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._feed: dict[str, Array] = {}
        self._results: list[Array] = []

    def resize(self, batch: int) -> None:
        """Nothing to do for a dynamic batch; another fixed one is refused."""
        for spec in self.inputs:
            if spec.shape and spec.shape[0] not in (None, batch):
                raise ModelError(
                    f"{self._model} cannot take a batch of {batch}",
                    found=f"input '{spec.name}' has a fixed batch of {spec.shape[0]}",
                    remedy="run it with the batch that it was made with",
                )

    def set_inputs(self, arrays: Sequence[Array]) -> None:
        """Keep the inputs for the next run."""
        check_inputs(self.inputs, arrays)
        self._feed = {spec.name: array for spec, array in zip(self.inputs, arrays)}

    def invoke(self) -> None:
        """Run once."""
        try:
            self._results = self._session.run(None, self._feed)
        except Exception as error:  # its classes share no base below Exception
            raise ModelError(f"{self._model} fails when it runs", found=str(error)) from None

    def get_outputs(self) -> list[Array]:
        """The outputs: every run allocates new ones."""
        return list(self._results)

    def delegate(self) -> tuple[str, tuple[str, ...]]:
        """Always "none": the CPU provider's own kernels."""
        asked = self._asked_delegate == "none"
        return "none", ("delegate 'none' means nothing to onnxruntime",) if asked else ()

    def close(self) -> None:
        """Let the session go."""
        self._session = None


def _spec(node: Any) -> TensorSpec:
    dtype = node.type.partition("(")[2].rstrip(")")
    return TensorSpec(
        name=node.name,
        shape=tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape),
        dtype=_NUMPY_NAMES.get(dtype, dtype),
    )
