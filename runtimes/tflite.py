"""TFLite files: LiteRT, else tflite_runtime, else TensorFlow's interpreter; one API in all three.

Whether XNNPACK runs a model is read from the interpreter's operators after allocation: a DELEGATE
node is there or not, and its tensors tell which operators it took. The log line "Created TensorFlow
Lite XNNPACK delegate" would not tell that. tflite-runtime 2.14 (x86-64) gives XNNPACK float
operators only: int8 files run on its builtin kernels.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtimes.arena import arena_bytes
from runtimes.backend import check_inputs
from runtimes.errors import MissingRuntimeError, ModelError
from runtimes.report import OperatorTime, TensorSpec
from runtimes.values import Array

MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}


def import_tflite(runtime: str = "auto") -> TfliteRuntime:
    """Import the named interpreter, or with "auto" the first that is there.

    Raises:
        MissingRuntimeError: none is; the message says why each was not.
    """
    names = list(MODULES) if runtime == "auto" else [runtime]
    problems = []
    for name in names:
        try:
            module = importlib.import_module(MODULES[name])
        except (ImportError, OSError, AttributeError) as error:
            problems.append(f"{name}: {error}")
        else:
            package = importlib.import_module(MODULES[name].partition(".")[0])
            return TfliteRuntime(name, str(getattr(package, "__version__", "unknown")), module)
    raise MissingRuntimeError(
        "no interpreter for .tflite files can be imported here",
        expected="one of " + ", ".join(names),
        found="; ".join(problems),
        remedy="pip install ai-edge-litert; on an older board: tflite-runtime 'numpy>=1.23,<2'",
    )


class TfliteRuntime:
    """One of the three TFLite interpreters, imported."""

    def __init__(self, name: str, version: str, module: ModuleType) -> None:
        self.name = name
        self.version = version
        self._module = module

    def load(self, path: Path, threads: int, delegate: str) -> TfliteBackend:
        """Load and allocate; `delegate` "none" leaves XNNPACK out."""
        return TfliteBackend(self._allocated(path, threads, delegate), path.name, delegate)

    def arena_bytes(self, path: Path) -> int | None:
        """The arena of TFLite's own kernels, which a device without XNNPACK runs."""
        return arena_bytes(self._allocated(path, 1, "none"))

    def _allocated(self, path: Path, threads: int, delegate: str) -> Any:
        resolvers = self._module.OpResolverType
        resolver = (
            resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if delegate == "none" else resolvers.AUTO
        )
        try:
            interpreter = self._module.Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=resolver,
            )
            interpreter.allocate_tensors()
        except SystemError as error:
            # tflite-runtime 2.14 imports under any numpy, and fails here with all but 1.23 to 1.26.
            raise MissingRuntimeError(
                f"{self.name} {self.version} does not work with numpy {np.__version__}",
                found=str(error),
                remedy="pip install 'numpy>=1.23,<2', or ai-edge-litert in place of tflite-runtime",
            ) from None
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self.name} {self.version} refuses {path.name}", found=str(error).strip()
            ) from None
        return interpreter

    def profile(
        self, path: Path, threads: int, runs: int, seed: int
    ) -> tuple[tuple[OperatorTime, ...], tuple[str, ...]]:
        """None: these interpreters have a profiler only in C++."""
        note = (
            f"{self.name} has no profiler in Python: name TFLite's benchmark_model as the runner "
            "for the operators' times"
        )
        return (), (note,)


class TfliteBackend:
    """One model in a TFLite interpreter."""

    def __init__(self, interpreter: Any, model: str, delegate: str) -> None:
        self._interpreter = interpreter
        self._model = model
        self._asked_delegate = delegate
        self._read_details()

    def _read_details(self) -> None:
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self._input_ids = [int(detail["index"]) for detail in inputs]
        self._output_ids = [int(detail["index"]) for detail in outputs]
        self.inputs = tuple(_spec(detail) for detail in inputs)
        self.outputs = tuple(_spec(detail) for detail in outputs)

    def resize(self, batch: int) -> None:
        """Resize every input's first axis and allocate anew."""
        if all(spec.shape[:1] == (batch,) for spec in self.inputs):
            return
        try:
            for index, spec in zip(self._input_ids, self.inputs):
                shape = [batch, *(1 if size is None else size for size in spec.shape[1:])]
                self._interpreter.resize_tensor_input(index, shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self._model} cannot take a batch of {batch}",
                found=str(error).strip(),
                remedy="run it with the batch that it was made with",
            ) from None
        self._read_details()

    def set_inputs(self, arrays: Sequence[Array]) -> None:
        """Copy the inputs into the interpreter."""
        check_inputs(self.inputs, arrays)
        for index, array in zip(self._input_ids, arrays):
            self._interpreter.set_tensor(index, array)

    def invoke(self) -> None:
        """Run once."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._model} fails when it runs", found=str(error)) from None

    def get_outputs(self) -> list[Array]:
        """Copies of the outputs."""
        return [self._interpreter.get_tensor(index) for index in self._output_ids]

    def delegate(self) -> tuple[str, tuple[str, ...]]:
        """XNNPACK where it runs at least one operator; the notes name those that it leaves."""
        try:
            nodes = self._interpreter._get_ops_details()
        except AttributeError:
            return "unknown", ("this interpreter does not tell whether XNNPACK runs the model",)
        left, total = _left_by_delegate(nodes)
        if left is None:
            asked = self._asked_delegate == "none"
            return "none", () if asked else ("XNNPACK takes no operator of this file here",)
        if not left:
            return "xnnpack", ()
        names = ", ".join(sorted(set(left)))
        note = (
            f"XNNPACK runs {total - len(left)} of {total} operators; TFLite's kernels run {names}"
        )
        return "xnnpack", (note,)

    def close(self) -> None:
        """Let the interpreter go, and the model with it."""
        self._interpreter = None


def _spec(detail: dict[str, Any]) -> TensorSpec:
    signature = detail.get("shape_signature", detail["shape"])
    scales = detail["quantization_parameters"]["scales"]
    zero_points = detail["quantization_parameters"]["zero_points"]
    return TensorSpec(
        name=str(detail["name"]),
        shape=tuple(None if size < 0 else int(size) for size in signature),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scales[0]) if len(scales) == 1 else None,
        zero_point=int(zero_points[0]) if len(zero_points) == 1 else None,
    )


def _left_by_delegate(nodes: Sequence[dict[str, Any]]) -> tuple[list[str] | None, int]:
    """The operators that no delegate runs (None: there is no delegate), and how many there are.

    The list of nodes keeps those that a delegate replaced. Replaced are the ones met when walking
    back from a DELEGATE's outputs until its inputs.
    """
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    if not delegates:
        return None, len(operators)
    producers = {int(out): node for node in operators for out in node["outputs"]}
    taken = set()
    for delegate in delegates:
        stop = {int(index) for index in delegate["inputs"]}
        pending = [int(index) for index in delegate["outputs"]]
        while pending:
            tensor = pending.pop()
            node = producers.get(tensor)
            if tensor in stop or node is None or id(node) in taken:
                continue
            taken.add(id(node))
            pending.extend(int(index) for index in node["inputs"])
    return [node["op_name"] for node in operators if id(node) not in taken], len(operators)
