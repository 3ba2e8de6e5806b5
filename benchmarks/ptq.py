"""Post-training quantization of the real MobileNetV2: what is lost, and what the export costs.

ImageNet weights (torchvision's), 100 photographs to calibrate and 100 others to judge
(benchmarks/photographs.py). Judged is the int8 .onnx file in ONNX Runtime, against the fp32 network
on the same frames: KL(fp32 || int8) of the class probabilities, signal to quantization noise of the
logits, and how often both name the same class. Costs are of the route in a process of its own: ours
from the PyTorch module to .onnx and .tflite; the peers' from the fp32 ONNX file to theirs, with
what torch.onnx.export cost before (a row of its own) added in `total_cpu_s`. Peers have their own
environment (benchmarks/peers/ptq.txt), which the script makes. Latencies are of one frame on one
thread, all files in turns: `latency_ms_p50` of the .onnx, `tflite_latency_ms_p50` of our .tflite in
LiteRT, whose own KL and SQNR are beside them: there no sum saturates, so that they show what the
exact rules cost alone. In the rows of int16 the values between operators, or those that some layers
give, are int16, the weights int8.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.environments import python_of, versions_of
from benchmarks.photographs import photographs
from benchmarks.process import Cost, measure
from benchmarks.results import ROOT, Value, arguments, publish

MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
PHOTOGRAPHS: Final = 100
QUICK_PHOTOGRAPHS: Final = 24
EXAMPLE: Final = ROOT / "examples" / "mobilenet_v2"
TIMEOUT_S: Final = 1800.0
BATCH: Final = 1  # photographs at a time, as the peers take them
TIMED_FRAMES: Final = 30

OURS: Final[dict[str, dict[str, Any]]] = {
    "min/max alone": {},
    "min/max alone, pair_channels = false": {"pair_channels": False},
    "min/max alone, exact = false": {"exact": False},
    "min/max, biases corrected": {"biases": True},
    "equalized, biases corrected": {"equalize": True, "biases": True},
    "equalized, rounded, biases corrected": {"equalize": True, "rounding": True, "biases": True},
    "equalized, biases corrected, 4 layers in int16": {
        "equalize": True,
        "biases": True,
        "int16_layers": "auto:4",
    },
    "best": {"method": "best"},
    "int16, min/max, biases corrected": {"activations": "int16", "biases": True},
}
"""What `exporter.quantize.quantize.Calibration` is given; `exact` is `prepare_module`'s."""

SCALE: Final = "scale.json"
UNSIGNED_SHIFT: Final = 128
PEER_METHODS: Final = {
    "ORT quantize_static, min/max": "ort_minmax",
    "NNCF, accurate bias correction": "nncf_accurate",
}

Row = dict[str, Value]

EXPORT_FP32: Final = """
import sys, torch
sys.path[:0] = [{root!r}, {example!r}]
from mobilenet_v2 import mobilenet_v2
batch = torch.export.Dim("batch")
torch.onnx.export(mobilenet_v2(), (torch.zeros(2, 3, 224, 224),), {path!r}, dynamo=True,
    input_names=["input"], output_names=["output"], dynamic_shapes=({{0: batch}},),
    opset_version=17, external_data=False, verbose=False)
"""


@dataclass(frozen=True)
class Judge:
    """What judges a file.

    Attributes:
        frames: uint8 [N, 224, 224, 3].
        logits: of the fp32 network, float64 [N, 1000].
    """

    frames: np.ndarray
    logits: np.ndarray

    def figures(self, path: Path) -> Row:
        """KL, SQNR, agreement and size of a file."""
        session = open_session(path)
        entry = session.get_inputs()[0]
        samples = self.frames if entry.type == "tensor(uint8)" else normalised(self.frames)
        outputs = [session.run(None, {entry.name: sample[None]})[0] for sample in samples]
        found = np.concatenate(outputs).astype(np.float64)
        if not np.issubdtype(outputs[0].dtype, np.floating):
            found = dequantized(path, found)
        return {
            "kl": self.divergence(found),
            "sqnr_db": self.sqnr_db(found),
            "agreement": float((found.argmax(1) == self.logits.argmax(1)).mean()),
            "file_bytes": path.stat().st_size,
            "tflite_kl": None,
            "tflite_sqnr_db": None,
        }

    def tflite_figures(self, path: Path) -> Row:
        """KL and SQNR of our .tflite in LiteRT, where no sum saturates on any CPU."""
        from runtimes.backend import open_model

        model = open_model(path)
        outputs = []
        for frame in self.frames:
            model.set_inputs([frame[None]])
            model.invoke()
            outputs.append(model.get_outputs()[0])
        model.close()
        shift = UNSIGNED_SHIFT if outputs[0].dtype == np.int8 else 0
        found = dequantized(path, np.concatenate(outputs).astype(np.float64) + shift)
        return {"tflite_kl": self.divergence(found), "tflite_sqnr_db": self.sqnr_db(found)}

    def divergence(self, found: np.ndarray) -> float:
        """KL(fp32 || int8) of the class probabilities, the mean over the frames."""
        real, int8 = log_probabilities(self.logits), log_probabilities(found)
        return round(float((np.exp(real) * (real - int8)).sum(1).mean()), 4)

    def sqnr_db(self, found: np.ndarray) -> float | None:
        """Signal to noise in dB; None where there is no noise."""
        noise = ((found - self.logits) ** 2).sum()
        return sqnr_db(self.logits, noise) if noise else None


def latencies(files: Sequence[Path], frames: np.ndarray) -> list[Row]:
    """The median latency of one frame on one thread of each .onnx and, beside it, .tflite, ms."""
    turns: dict[tuple[int, str], Callable[[np.ndarray], float]] = {}
    for index, path in enumerate(files):
        turns[index, "latency_ms_p50"] = onnx_turn(path)
        if path.with_suffix(".tflite").exists():
            turns[index, "tflite_latency_ms_p50"] = tflite_turn(path.with_suffix(".tflite"))
    times: dict[tuple[int, str], list[float]] = {key: [] for key in turns}
    for frame in frames[:TIMED_FRAMES]:
        for key, turn in turns.items():
            times[key].append(turn(frame[None]))
    rows: list[Row] = [{"tflite_latency_ms_p50": None} for _ in files]
    for (index, column), found in times.items():
        rows[index][column] = 1e3 * statistics.median(found)
    return rows


def onnx_turn(path: Path) -> Callable[[np.ndarray], float]:
    """Run a frame in ONNX Runtime; gives the seconds."""
    session = open_session(path)
    entry = session.get_inputs()[0]
    takes_frames = entry.type == "tensor(uint8)"

    def turn(frame: np.ndarray) -> float:
        fed = {entry.name: frame if takes_frames else normalised(frame)}
        start = time.perf_counter()
        session.run(None, fed)
        return time.perf_counter() - start

    return turn


def tflite_turn(path: Path) -> Callable[[np.ndarray], float]:
    """Run a frame in LiteRT; gives the seconds."""
    from runtimes.backend import open_model

    model = open_model(path)

    def turn(frame: np.ndarray) -> float:
        model.set_inputs([frame])
        start = time.perf_counter()
        model.invoke()
        return time.perf_counter() - start

    return turn


def open_session(path: Path) -> Any:
    """An ONNX Runtime session on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def normalised(frames: np.ndarray) -> np.ndarray:
    """Frames as the fp32 network takes them, [N, 3, 224, 224]."""
    scaled = (frames / np.float32(255) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2).astype(np.float32))


def dequantized(path: Path, integers: np.ndarray) -> np.ndarray:
    """Our files' integers as reals."""
    scale, zero_point = json.loads((path.parent / SCALE).read_text(encoding="ascii"))
    reals: np.ndarray = scale * (integers - zero_point)
    return reals


def sqnr_db(signal: np.ndarray, noise: float) -> float:
    """Signal to noise in dB; `noise` is the sum of its squares."""
    return round(float(10 * np.log10((signal**2).sum() / noise)), 2)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log of the softmax."""
    shifted = logits - logits.max(1, keepdims=True)
    logarithms: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logarithms


def main() -> None:
    """Quantize with each method; print and write the table."""
    options = arguments(__doc__).parse_args()
    count = QUICK_PHOTOGRAPHS if options.quick else PHOTOGRAPHS
    calibrate, judge = photographs(count, count)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        rows, versions = compare(Path(folder), calibrate, judge)
    publish("ptq", rows, options, versions=versions)


def compare(
    folder: Path, calibrate: np.ndarray, frames: np.ndarray
) -> tuple[list[Row], dict[str, str]]:
    """A row a method, and the peers' versions."""
    np.save(folder / "frames.npy", calibrate)
    np.save(folder / "normalised.npy", normalised(calibrate))
    real = folder / "fp32.onnx"
    script = EXPORT_FP32.format(root=str(ROOT), example=str(EXAMPLE), path=str(real))
    exported = measure([sys.executable, "-c", script], timeout_s=TIMEOUT_S, env=environment())
    judge = Judge(frames, fp32_logits(real, frames))
    unquantized: Row = {"method": "torch.onnx.export, fp32", "peer": True}
    rows, files = [unquantized | judge.figures(real) | costs(exported, 0.0)], [real]
    for name, calibration in OURS.items():
        out = folder / f"ours{len(rows)}"
        cost = export(out, calibration, folder / "frames.npy")
        row: Row = {"method": f"edgewright, {name}", "peer": False}
        files.append(out / "net.int8.onnx")
        tflite = judge.tflite_figures(files[-1].with_suffix(".tflite"))
        rows.append(row | judge.figures(files[-1]) | tflite | costs(cost, 0.0))
    python = python_of("ptq")
    if python is not None:
        for name, method in PEER_METHODS.items():
            target = folder / f"{method}.onnx"
            script_path = ROOT / "benchmarks" / "peers" / "ptq_peer.py"
            argv: list[str | Path] = [
                python,
                script_path,
                method,
                real,
                folder / "normalised.npy",
                target,
            ]
            cost = measure(argv, timeout_s=TIMEOUT_S, env=environment())
            row = {"method": name, "peer": True}
            files.append(target)
            rows.append(row | judge.figures(target) | costs(cost, exported.cpu_s))
    rows = [row | times for row, times in zip(rows, latencies(files, frames), strict=True)]
    if python is None:
        return rows, {}
    return rows, {f"{name} (peers)": version for name, version in versions_of("ptq").items()}


def fp32_logits(path: Path, frames: np.ndarray) -> np.ndarray:
    """The fp32 file's outputs, float64 [N, 1000]."""
    session = open_session(path)
    outputs = [session.run(None, {"input": sample[None]})[0] for sample in normalised(frames)]
    return np.concatenate(outputs).astype(np.float64)


def export(out: Path, calibration: dict[str, Any], frames: Path) -> Cost:
    """Our route, in a process of its own."""
    code = f"from benchmarks.ptq import route; route({str(out)!r}, {str(frames)!r}, {calibration})"
    return measure([sys.executable, "-c", code], timeout_s=TIMEOUT_S, env=environment())


def route(out: str, frames: str, calibration: dict[str, Any]) -> None:
    """From the module to the files; runs in a child."""
    import onnx_ir as ir

    from exporter.graph.canonical import canonicalise
    from exporter.inputs import InputSpec
    from exporter.ort import qdq
    from exporter.tflite import lower

    folder = Path(out)
    folder.mkdir(parents=True)
    spec = InputSpec((1, 3, 224, 224), "uint8", MEAN, STD)
    model = quantized(spec, frames, calibration)
    graph = canonicalise(
        model, dtype="uint8", integer_outputs=True, frame_zero_point=spec.frame_zero_point
    )
    (folder / "net.int8.tflite").write_bytes(lower(graph))
    ir.save(qdq.lower(model), folder / "net.int8.onnx", format="protobuf")
    output = graph.tensors[graph.outputs[0]]
    assert output.quantization is not None
    # ONNX Runtime's file has uint8 for int8.
    shift = UNSIGNED_SHIFT if output.dtype == np.int8 else 0
    scale = [float(output.quantization.scale), int(output.quantization.zero_point) + shift]
    (folder / SCALE).write_text(json.dumps(scale), encoding="ascii")


def quantized(spec: Any, frames: str, calibration: dict[str, Any]) -> Any:
    """The quantized network as ONNX; what led to it is freed, as behind a stage of a build."""
    import torch

    from exporter.onnx_export import to_onnx
    from exporter.quantize.finish import finish
    from exporter.quantize.quantize import Calibration, prepare_module

    module = importlib.import_module("mobilenet_v2").mobilenet_v2()
    samples = torch.split(torch.from_numpy(np.load(frames)), BATCH)
    exact = calibration.pop("exact", True)
    # A recipe pairs channels unless it says otherwise.
    found = Calibration(**({"pair_channels": True} | calibration))
    prepared = prepare_module(module, spec, samples, exact=exact, calibration=found)
    finished, _ = finish(prepared.graph_module)
    return to_onnx(finished, torch.zeros((2, 3, 224, 224)), "net")


def environment() -> dict[str, str]:
    """This process's, on one thread, with modules found in the project."""
    paths = os.pathsep.join(map(str, (ROOT, EXAMPLE)))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}


def costs(cost: Cost, before_cpu_s: float) -> Row:
    """What a route cost; `total_cpu_s` has what came before it, too."""
    return {
        "cpu_s": cost.cpu_s,
        "total_cpu_s": cost.cpu_s + before_cpu_s,
        "peak_rss_mb": cost.peak_rss_bytes / 1e6,
    }


if __name__ == "__main__":
    main()
