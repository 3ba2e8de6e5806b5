"""Runs an int8 file of any route on frames: its float answers, and the time of one call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.paired import Measure, timed
from benchmarks.routes import reals

if TYPE_CHECKING:
    from exporter.tflite.reader import TfliteFile

Quantization = tuple[float, int]


class FileRunner:
    """A loaded .tflite (LiteRT with XNNPACK) or .onnx file, on one thread.

    Args:
        path: of the file.
        quantization: of each output where the file does not tell (our .onnx gives integers).
    """

    def __init__(self, path: Path, quantization: tuple[Quantization, ...] | None = None) -> None:
        self.quantization = quantization
        opened = _open_tflite(path) if path.suffix == ".tflite" else _open_onnx(path)
        self.set_input, self.invoke, self.outputs, self.takes = opened

    def answers(self, frames: np.ndarray) -> list[np.ndarray]:
        """Float outputs over frames uint8 [N, H, W, C], in the file's own order and layout."""
        rows = []
        for frame in frames:
            self.set_input(self.takes(frame[None]))
            self.invoke()
            found = self.outputs()
            if self.quantization is not None:
                pairs = zip(found, self.quantization, strict=True)
                found = [s * (a.astype(np.float64) - z) for a, (s, z) in pairs]
            rows.append(found)
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _open_tflite(path: Path) -> tuple[Any, ...]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    exits = interpreter.get_output_details()

    def outputs() -> list[np.ndarray]:
        found = []
        for detail in exits:
            scale, zero_point = detail["quantization"]
            array = interpreter.get_tensor(detail["index"])
            found.append(scale * (array.astype(np.float64) - zero_point) if scale else array)
        return found

    def set_input(array: np.ndarray) -> None:
        interpreter.set_tensor(entry["index"], array)

    scale, zero_point = entry["quantization"]

    def takes(frame: np.ndarray) -> np.ndarray:
        if entry["dtype"] == np.uint8:
            return frame
        real = reals(frame)
        if tuple(entry["shape"][1:]) != real.shape[1:]:
            real = real.transpose(0, 2, 3, 1)
        if entry["dtype"] == np.int8:
            real = np.clip(np.round(real / scale) + zero_point, -128, 127)
        return np.ascontiguousarray(real.astype(entry["dtype"]))

    return set_input, interpreter.invoke, outputs, takes


def _open_onnx(path: Path) -> tuple[Any, ...]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    state: dict[str, Any] = {}

    def set_input(array: np.ndarray) -> None:
        state["input"] = array

    def invoke() -> None:
        state["output"] = session.run(None, {entry.name: state["input"]})

    def outputs() -> list[np.ndarray]:
        return list(state["output"])

    def takes(frame: np.ndarray) -> np.ndarray:
        return frame if entry.type == "tensor(uint8)" else reals(frame)

    return set_input, invoke, outputs, takes


def fidelity(real: tuple[np.ndarray, ...], found: list[np.ndarray]) -> tuple[float, float | None]:
    """Signal to noise over all outputs in dB, and how often the first names the same class.

    A peer's outputs may come in another order and channels last: each float output is held against
    the nearest of those of its size. The second is None for what is no classifier.
    """
    signal = noise = 0.0
    left = list(found)
    for output in real:
        errors = [
            (float(((form - output) ** 2).sum()), index)
            for index, candidate in enumerate(left)
            if candidate.size == output.size
            for form in _forms(candidate, output.shape)
        ]
        error, index = min(errors)
        left.pop(index)
        signal, noise = signal + float((output.astype(np.float64) ** 2).sum()), noise + error
    agreement = None
    if len(real) == 1 and real[0].ndim == 2:
        agreement = float((real[0].argmax(1) == found[0].reshape(real[0].shape).argmax(1)).mean())
    return float(10 * np.log10(signal / max(noise, 1e-30))), agreement


def _forms(array: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    forms = [array.reshape(shape)] if array.shape == shape or array.ndim != len(shape) else []
    for order in itertools.permutations(range(1, array.ndim)):
        turned = array.transpose(0, *order)
        if turned.shape == shape and order != tuple(range(1, array.ndim)):
            forms.append(turned)
    return forms


def repeated(call: Callable[[], Any], times: int) -> Callable[[], None]:
    """A call that makes many."""

    def run() -> None:
        for _ in range(times):
            call()

    return run


def turn_of(invoke: Callable[[], Any], turn_s: float) -> Measure:
    """A measure of one call in seconds, over as many calls as take about `turn_s`."""
    invoke()
    start = time.perf_counter()
    invoke()
    count = max(1, round(turn_s / (time.perf_counter() - start)))
    call = timed(repeated(invoke, count))
    return lambda: call() / count


def float_tensors(file: TfliteFile) -> int:
    """How many float tensors lie between the operators of a .tflite, its ends left out."""
    ends = {*file.inputs, *file.outputs}
    inner = [tensor for index, tensor in enumerate(file.tensors) if index not in ends]
    return sum(t.dtype is not None and t.dtype.kind == "f" for t in inner)
