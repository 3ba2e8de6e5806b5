"""ONNX Runtime, for .onnx and .ort files; default session options except for the threads."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtimes.backend import check_inputs, own_batch, random_inputs
from runtimes.errors import MissingRuntimeError, ModelError
from runtimes.report import OperatorTime, TensorSpec
from runtimes.values import Array

KERNEL_TIME = "_kernel_time"  # ends the names of a trace's events that are a node's own work
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
        return self._open(path, options, delegate)

    def arena_bytes(self, path: Path) -> int | None:
        """None: its arena is told only in C."""
        return None

    def profile(
        self, path: Path, threads: int, runs: int, seed: int
    ) -> tuple[tuple[OperatorTime, ...], tuple[str, ...]]:
        """What ONNX Runtime's profiler says of `runs` runs; its trace file goes again."""
        options = self._module.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        with tempfile.TemporaryDirectory(prefix="edgewright-profile-") as folder:
            options.profile_file_prefix = str(Path(folder, "trace"))
            backend = self._open(path, options, "default")
            backend.set_inputs(random_inputs(backend.inputs, own_batch(backend), seed))
            for _ in range(runs):
                backend.invoke()
            trace = Path(backend.end_profiling())
            events = json.loads(trace.read_text(encoding="utf-8"))
            backend.close()
        return operator_times(events, runs), ()

    def _open(self, path: Path, options: Any, delegate: str) -> OrtBackend:
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
        self._feed: list[Array] = []
        self._binding: Any = None

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
        """Bind the inputs for the next runs, which then cost 1 us of Python and not 4."""
        check_inputs(self.inputs, arrays)
        self._feed = [np.ascontiguousarray(array) for array in arrays]  # the binding only points
        self._binding = self._session.io_binding()
        for spec, array in zip(self.inputs, self._feed):
            self._binding.bind_cpu_input(spec.name, array)
        for spec in self.outputs:
            self._binding.bind_output(spec.name)

    def invoke(self) -> None:
        """Run once."""
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # its classes share no base below Exception
            raise ModelError(f"{self._model} fails when it runs", found=str(error)) from None

    def get_outputs(self) -> list[Array]:
        """Copies of the outputs."""
        return list(self._binding.copy_outputs_to_cpu())

    def delegate(self) -> tuple[str, tuple[str, ...]]:
        """Always "none": the CPU provider's own kernels."""
        asked = self._asked_delegate == "none"
        return "none", ("delegate 'none' means nothing to onnxruntime",) if asked else ()

    def end_profiling(self) -> str:
        """Write the trace; gives its path."""
        return str(self._session.end_profiling())

    def close(self) -> None:
        """Let the session go."""
        self._binding = self._session = None


def operator_times(events: Sequence[dict[str, Any]], runs: int) -> tuple[OperatorTime, ...]:
    """Sum up a trace's kernel times, in us, for each node; slowest first."""
    totals_us: dict[tuple[str, str], float] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(KERNEL_TIME):
            key = name[: -len(KERNEL_TIME)], str(event["args"]["op_name"])
            totals_us[key] = totals_us.get(key, 0.0) + float(event["dur"])
    times = [OperatorTime(*key, total / 1e3 / runs) for key, total in totals_us.items()]
    return tuple(sorted(times, key=lambda time: -time.mean_ms))


def _spec(node: Any) -> TensorSpec:
    dtype = node.type.partition("(")[2].rstrip(")")
    return TensorSpec(
        name=node.name,
        shape=tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape),
        dtype=_NUMPY_NAMES.get(dtype, dtype),
    )
