"""ONNX models that packages carry: converted to float and to int8 .tflite, by us and by onnx2tf.

The models: the `light_*` graphs inside onnx, those of rapidocr-onnxruntime (real weights), and
magika and silero-vad as cases that may be refused. int8 here is the way of somebody who quantized
with ONNX Runtime: quantize_static on random inputs, then `edgewright convert`. Each int8 .tflite is
run in TensorFlow's interpreter and in tflite-runtime 2.14, too: the share of its output values that
equal LiteRT's. A failing step says why. Results are written after every model.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.environments import ENVIRONMENTS, PEERS, python_of, versions_of
from benchmarks.process import CommandError, Cost, measure
from benchmarks.results import Value, arguments, publish
from benchmarks.routes import TIMEOUT_S, environment, reason_of

LIGHT: Final = "onnx/backend/test/data/light"
SHAPES: Final = {
    "ch_PP-OCRv4_det_infer": (1, 3, 320, 320),
    "ch_PP-OCRv4_rec_infer": (1, 3, 48, 320),
    "ch_ppocr_mobile_v2.0_cls_infer": (1, 3, 48, 192),
}
QUICK: Final = ("light_squeezenet", "light_shufflenet", "ch_ppocr_mobile_v2.0_cls_infer")
SAMPLES: Final = 8
INTERPRETERS: Final = {
    "tensorflow": "tensorflow.lite",
    "tflite-runtime": "tflite_runtime.interpreter",
}
KEYS: Final = (
    *("network", "package", "fp32", "fp32_cpu_s", "fp32_peak_mb", "fp32_bytes", "fp32_failed"),
    *("int8", "int8_cpu_s", "int8_peak_mb", "int8_bytes", "float_operators", "int8_failed"),
    *("onnx2tf", "onnx2tf_cpu_s", "onnx2tf_peak_mb", "onnx2tf_bytes", "onnx2tf_failed"),
    *("tensorflow_share", "tensorflow_failed", "tflite_runtime_share", "tflite_runtime_failed"),
)
"""Every row has them all, so that they are one table."""

Row = dict[str, Value]


@dataclass(frozen=True)
class Source:
    """A model of the corpus; `shape` is its only input's, None where there is no such one."""

    name: str
    path: Path
    package: str
    shape: tuple[int, ...] | None


def main() -> None:
    """Go through the models; the table and the file grow with each."""
    options = arguments(__doc__).parse_args()
    versions = {
        n: v for e in ("onnx2tf", "tensorflow", "corpus") for n, v in versions_of(e).items()
    }
    peers = {f"{name} (peers)": version for name, version in versions.items()}
    rows: list[Row] = []
    for source in sources():
        if options.quick and source.name not in QUICK:
            continue
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            rows.append(row_of(source, Path(folder), options))
        publish("corpus", rows, options, versions=peers)


def sources() -> Iterator[Source]:
    """The models of all packages that are here."""
    spec = importlib.util.find_spec("onnx")
    folders = [("onnx", Path(str(spec.origin)).parent.parent / LIGHT)] if spec else []
    python = python_of("corpus")
    if python is not None:
        site = next((python.parent.parent / "lib").glob("python*/site-packages"))
        names = ("rapidocr_onnxruntime", "magika", "silero_vad")
        folders += [(name, site / name) for name in names]
    for package, folder in folders:
        for path in sorted(folder.rglob("*.onnx")):
            yield Source(path.stem, path, package, SHAPES.get(path.stem) or _own_shape(path))


def _own_shape(path: Path) -> tuple[int, ...] | None:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return None
    return tuple(d.dim_value or 1 for d in inputs[0].type.tensor_type.shape.dim)


def row_of(source: Source, folder: Path, options: argparse.Namespace) -> Row:
    """One model, each step in a process of its own."""
    row: Row = {"network": source.name, "package": source.package}
    row |= _ours("fp32", source, source.path, folder)
    quantized, reason = _quantize(source, folder)
    if quantized is None:
        row |= {"int8": False, "int8_failed": f"ORT quantize_static: {reason}"}
    else:
        row |= _ours("int8", source, quantized, folder)
    row |= _onnx2tf(source, folder)
    made = folder / "check" / "int8.tflite"
    if made.exists():
        row |= _elsewhere(made)
    return dict.fromkeys(KEYS) | row


def _ours(kind: str, source: Source, path: Path, folder: Path) -> Row:
    """`edgewright convert` of a model, as a user calls it."""
    (folder / "check").mkdir(exist_ok=True)
    target = folder / ("check" if kind == "int8" else ".") / f"{kind}.tflite"
    argv = [sys.executable, "-m", "exporter.cli", "convert", str(path), "-o", str(target), "--json"]
    if source.shape is not None and kind == "fp32":
        argv += ["--input", "x".join(map(str, source.shape))]
    cost = _measured(argv)
    if isinstance(cost, str):
        return {kind: False, f"{kind}_failed": cost}
    found: dict[str, Any] = json.loads(cost.stdout)
    row: Row = {
        kind: True,
        f"{kind}_failed": "",
        f"{kind}_cpu_s": cost.cpu_s,
        f"{kind}_peak_mb": cost.peak_rss_bytes / 1e6,
        f"{kind}_bytes": target.stat().st_size,
    }
    if kind == "int8":
        row["float_operators"] = sum(not f["by_design"] for f in found["in_float"])
    return row


def _measured(argv: list[str], cwd: Path | None = None) -> Cost | str:
    """What a command cost, or the reason why it failed."""
    try:
        return measure(argv, timeout_s=TIMEOUT_S, env=environment(), cwd=cwd)
    except CommandError as error:
        return reason_of(error)


def _quantize(source: Source, folder: Path) -> tuple[Path | None, str]:
    """ONNX Runtime's quantize_static on random inputs; the file, or why there is none."""
    if source.shape is None:
        return None, "not tried: more than one input, or not of floats"
    python = python_of("ptq")
    if python is None:
        return None, "its environment (ptq.txt) is not here"
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(SAMPLES, *source.shape[1:])).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    fixed, target = folder / "fixed.onnx", folder / "qdq.onnx"
    import onnx

    graph = onnx.load(source.path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    name = next(value.name for value in graph.input if value.name not in constants)
    (folder / "name.txt").write_text(name, encoding="utf-8")
    shape = ",".join(map(str, source.shape))
    argv = [str(python), "-m", "onnxruntime.tools.make_dynamic_shape_fixed", str(source.path)]
    outcome = _measured([*argv, str(fixed), "--input_name", name, "--input_shape", shape])
    if isinstance(outcome, str):  # it refuses what is fixed already
        shutil.copy(source.path, fixed)
    script = str(PEERS / "ptq_peer.py")
    samples_path = str(folder / "samples.npy")
    done = _measured(
        [str(python), script, "ort_minmax", str(fixed), samples_path, str(target)], folder
    )
    return (None, done) if isinstance(done, str) else (target, "")


def _onnx2tf(source: Source, folder: Path) -> Row:
    """The peer, from the float model to int8."""
    python = python_of("onnx2tf")
    fixed = folder / "fixed.onnx"
    if python is None or not fixed.exists():
        return {"onnx2tf": None, "onnx2tf_failed": "not tried"}
    samples = np.load(folder / "samples.npy")
    if samples.ndim == 4:
        samples = samples.transpose(0, 2, 3, 1)
    np.save(folder / "nhwc.npy", np.ascontiguousarray(samples))
    name = (folder / "name.txt").read_text(encoding="utf-8")
    target = folder / "onnx2tf.tflite"
    argv = [str(python), str(PEERS / "onnx2tf_peer.py"), str(fixed), name]
    cost = _measured([*argv, str(folder / "nhwc.npy"), str(folder / "onnx2tf"), str(target)])
    if isinstance(cost, str):
        return {"onnx2tf": False, "onnx2tf_failed": cost}
    return {
        "onnx2tf": True,
        "onnx2tf_failed": "",
        "onnx2tf_cpu_s": cost.cpu_s,
        "onnx2tf_peak_mb": cost.peak_rss_bytes / 1e6,
        "onnx2tf_bytes": target.stat().st_size,
    }


def _elsewhere(path: Path) -> Row:
    """Share of a file's output values that other interpreters give as LiteRT does."""
    expected = _run_here(path)
    row: Row = {}
    for name, module in INTERPRETERS.items():
        key = f"{name.replace('-', '_')}_share"
        python = ENVIRONMENTS / name / "bin" / "python"
        if name == "tensorflow":
            python = python_of(name) or python
        if not python.exists():
            print(f"SKIPPED {name}: its environment is not here", file=sys.stderr)
            continue
        done = _measured([str(python), str(PEERS / "tflite_peer.py"), module, str(path.parent)])
        found = path.parent / f"{path.stem}.{module}.npz"
        if isinstance(done, str) or not found.exists():
            row[key] = None
            row[f"{name.replace('-', '_')}_failed"] = done if isinstance(done, str) else "refused"
            continue
        with np.load(found) as arrays:
            pairs = [(array, arrays[str(index)]) for index, array in enumerate(expected)]
        same = sum(int((a == b).sum()) for a, b in pairs)
        row[key] = same / sum(a.size for a, _ in pairs)
    return row


def _run_here(path: Path) -> list[np.ndarray]:
    """LiteRT's outputs on random inputs, which are left beside the file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(1)
    inputs = {}
    for index, detail in enumerate(interpreter.get_input_details()):
        inputs[str(index)] = generator.normal(size=detail["shape"]).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], inputs[str(index)])
    np.savez(path.with_suffix(".npz"), allow_pickle=False, **inputs)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


if __name__ == "__main__":
    main()
