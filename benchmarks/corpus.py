"""The corpus: every example network and the ONNX models that packages carry, to int8 .tflite.

Example networks (narrow variants; random weights made lively) start from torch: this project by
post-training quantization, litert-torch with ai-edge-quantizer, and onnx2tf behind
torch.onnx.export. Packages' models (onnx's `light_*` graphs with random weights,
rapidocr-onnxruntime's, magika's and silero-vad's, of which some cannot pass) start from ONNX: here
ONNX Runtime's quantize_static (with ForceQuantizeNoInputCheck) and `edgewright convert
--requantize`, and onnx2tf from the float model. "full int8" has no float tensor between its ends,
"part float" has some; "int8 with islands" has none but around operators that both runtimes compute
alike in float alone; "-" was not tried, for the reason given. `differing` are output values of our
.onnx in ONNX Runtime against our .tflite in LiteRT; `certificate` holds, or names the checks that
failed (`convert` has none: it compares). Every int8 .tflite of ours also runs in TensorFlow's
interpreter and in tflite-runtime 2.14; shares are of output values equal to LiteRT's. `latency_ms`
is the median in LiteRT, one thread; `latency_ratio` ours over the peer's, in turns; `load` the
machine's: above its number of cores the times mean little. The last rows count: of the models that
any peer converts to full int8, how many this project does. Results are written after each model;
--more goes on with those that they lack (date and commit are then those of the last run).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.corpus_models import Ready, Source, prepared, sources
from benchmarks.environments import PEERS, python_of, versions_of
from benchmarks.paired import Rounds, interleaved
from benchmarks.process import CommandError, Cost, measure
from benchmarks.results import Value, arguments, kept_rows, publish
from benchmarks.routes import (
    LITERT,
    ONNX2TF,
    OURS,
    TIMEOUT_S,
    Made,
    environment,
    export_fp32,
    make,
    prepare,
    reason_of,
)
from benchmarks.runner import float_tensors, turn_of

if TYPE_CHECKING:
    from examples.models.entry import Entry

QUICK: Final = ("resnet8", "mobilenet_v2", "light_squeezenet", "ch_ppocr_mobile_v2.0_cls_infer")
SAMPLES: Final = 8
ROUNDS: Final = 15
TURN_S: Final = 0.02
NETWORKS: Final = "example networks"
MISSING: Final = "its environment"
INTERPRETERS: Final = {
    "tensorflow": "tensorflow.lite.python.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
}
KEYS: Final = (
    *("model", "origin", "route", "peer", "int8", "cpu_s", "peak_rss_mb", "file_bytes"),
    *("latency_ms", "latency_ratio", "load", "certificate", "values", "differing", "max_lsb"),
    *(f"{name}{part}" for name in INTERPRETERS for part in ("_share", "_max_lsb")),
    "failed",
)
"""Every row has them all, so that they are one table."""
HOLDS: Final = "holds"
FULL, ISLANDS, PART, NONE, UNTRIED = "full int8", "int8 with islands", "part float", "no", "-"

Row = dict[str, Value]


def main() -> None:
    """Go through the models; the table and the file grow with each."""
    from examples.models import ZOO

    parser = arguments(__doc__, more=True)
    parser.add_argument("--model", action="append", metavar="NAME", help="by name; all by default")
    options = parser.parse_args()
    names = options.model or (QUICK if options.quick else None)
    environments = ("litert", "onnx2tf", "ptq", *INTERPRETERS, "corpus")
    versions = {n: v for e in environments for n, v in versions_of(e).items()}
    peers = {f"{name} (peers)": version for name, version in versions.items()}
    rows = [row for row in kept_rows("corpus", options) if "model" in row]
    have = {row["model"] for row in rows}
    for name, entry in ZOO.items():
        if name not in have and (names is None or name in names):
            with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
                rows += network_rows(name, entry, Path(folder))
            publish("corpus", [*rows, *counts(rows)], options, versions=peers)
    for source in sources():
        if source.name not in have and (names is None or source.name in names):
            with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
                rows += package_rows(source, Path(folder))
            publish("corpus", [*rows, *counts(rows)], options, versions=peers)


def counts(rows: list[Row]) -> list[Row]:
    """How many models of each kind are full int8, by whom."""
    found: list[Row] = []
    for origin in (NETWORKS, "packages"):
        kind = [row for row in rows if (row["origin"] == NETWORKS) == (origin == NETWORKS)]
        ours = {row["model"]: row["int8"] for row in kind if row["route"] == OURS}
        full = {
            route: {row["model"] for row in kind if row["route"] == route and row["int8"] == FULL}
            for route in (OURS, ONNX2TF, LITERT)
        }
        islands = {model for model, state in ours.items() if state == ISLANDS}
        any_peer = full[ONNX2TF] | full[LITERT]
        passed = len(any_peer & (full[OURS] | islands))
        found.append(
            {
                "models": origin,
                "tried": len(ours),
                "ours_full_int8": len(full[OURS]),
                "ours_with_islands": len(islands),
                "onnx2tf_full_int8": len(full[ONNX2TF]),
                "litert_full_int8": len(full[LITERT]),
                "any_peer_full_int8": len(any_peer),
                "ours_of_these": passed,
                "ours_of_these_without_islands": len(any_peer & full[OURS]),
                "ours_of_these_share": passed / len(any_peer) if any_peer else None,
            }
        )
    return found


def network_rows(name: str, entry: Entry, folder: Path) -> list[Row]:
    """An example network by every route that starts from torch."""
    bench = prepare(name, entry, folder, small=True)
    made = [
        make(bench, OURS, None),
        make(bench, LITERT, None),
        make(bench, ONNX2TF, export_fp32(bench)),
    ]
    rows = _rows(name, NETWORKS, made, folder)
    if made[0].files:
        rows[0] |= _certified(folder / "ours.qdq.onnx", made[0].files, bench.frames)
        if rows[0]["int8"] == PART and rows[0]["certificate"] == HOLDS:
            rows[0]["int8"] = ISLANDS
    return rows


def package_rows(source: Source, folder: Path) -> list[Row]:
    """A package's model, from float ONNX."""
    ready = prepared(source, folder / "fixed.onnx")
    if isinstance(ready, str):
        # What this project says of the file itself is the reason that its user reads.
        made, document = _convert(source.path, folder)
        return _rows(source.name, source.package, [made], folder)
    quantized = _quantize(ready, folder)
    if isinstance(quantized, str):
        made, document = Made(OURS, (), None, None, f"ORT quantize_static: {quantized}"), {}
    else:
        made, document = _convert(quantized, folder)
    rows = _rows(source.name, source.package, [made, _onnx2tf(ready, folder)], folder)
    rows[0] |= _compared(document)
    if rows[0]["int8"] == PART and all(entry["by_design"] for entry in document["in_float"]):
        rows[0]["int8"] = ISLANDS
    return rows


def _rows(model: str, origin: str, made: list[Made], folder: Path) -> list[Row]:
    """A row for each route, ours first, with latencies in turns and other interpreters' word."""
    about: Row = dict.fromkeys(KEYS) | {"model": model, "origin": origin}
    rows = [about | _made(one) for one in made]
    loaded: dict[str, Any] = {}
    for row, one in zip(rows, made, strict=True):
        path = next((path for path in one.files if path.suffix == ".tflite"), None)
        try:
            loaded |= {} if path is None else {one.route: _with_random_inputs(path)[0]}
        except RuntimeError as error:  # what LiteRT raises on all that it refuses
            row["failed"] = f"LiteRT does not load it: {error}"
    times = _times(loaded)
    for row, one in zip(rows, made, strict=True):
        if one.route in loaded:
            row["latency_ms"] = 1e3 * times.median(one.route)
            row["load"] = os.getloadavg()[0]
            if one.route != OURS and OURS in loaded:
                row["latency_ratio"] = times.ratio(OURS, one.route).value
    rows[0] |= _elsewhere(made[0], folder)
    return rows


def _made(made: Made) -> Row:
    """What a route made, what it cost, or why there is nothing."""
    tflite = next((path for path in made.files if path.suffix == ".tflite"), None)
    row: Row = {
        "route": made.route,
        "peer": made.route != OURS,
        "int8": UNTRIED if made.failure.startswith(MISSING) else NONE,
        "cpu_s": made.cpu_s,
        "peak_rss_mb": None if made.peak_bytes is None else made.peak_bytes / 1e6,
        "failed": made.failure,
    }
    if tflite is not None:
        row["file_bytes"] = tflite.stat().st_size
        row["int8"] = FULL if is_full_int8(tflite) else PART
    return row


def is_full_int8(path: Path) -> bool:
    """Whether no float tensor lies between the operators of a .tflite, but at its ends."""
    from exporter.tflite.reader import read_tflite

    return float_tensors(read_tflite(path)) == 0


def _certified(canonical: Path, files: tuple[Path, ...], frames: np.ndarray) -> Row:
    from benchmarks.export import answers_of, checks_of, compare
    from exporter.graph.read import read_file

    tflite, onnx = files
    graph = read_file(canonical)
    failed = [check.name for check in checks_of(graph, tflite, onnx) if not check.passed]
    values, differing, largest = compare(
        *(answers_of(graph, path, frames[:SAMPLES]) for path in files)
    )
    found: Row = {"values": values, "differing": differing, "max_lsb": largest}
    return found | {"certificate": f"does not hold: {', '.join(failed)}" if failed else HOLDS}


def _compared(document: Mapping[str, Any]) -> Row:
    """What `convert` says of our two files."""
    from exporter.convert import IN_ONNX, IN_TFLITE, IN_WIDE_TFLITE

    for entry in document.get("differences", ()):
        if {entry["one"], entry["other"]} in ({IN_ONNX, IN_TFLITE}, {IN_ONNX, IN_WIDE_TFLITE}):
            lsb = entry["max_lsb"]
            return {
                "values": entry["values"],
                "differing": entry["differing"],
                "max_lsb": None if lsb is None else round(lsb),
            }
    return {}


def _convert(path: Path, folder: Path) -> tuple[Made, Mapping[str, Any]]:
    """`edgewright convert` of a model, as a user calls it."""
    target = folder / "ours.tflite"
    argv = [sys.executable, "-m", "exporter.cli", "convert", str(path), "-o", str(target)]
    cost = _measured([*argv, "--requantize", "--json"])
    if isinstance(cost, str):
        return Made(OURS, (), None, None, cost), {}
    return Made(OURS, (target,), cost.cpu_s, cost.peak_rss_bytes), json.loads(cost.stdout)


def _measured(argv: list[str]) -> Cost | str:
    """What a command cost, or the reason why it failed."""
    try:
        return measure(argv, timeout_s=TIMEOUT_S, env=environment())
    except CommandError as error:
        return reason_of(error)


def _quantize(ready: Ready, folder: Path) -> Path | str:
    """ONNX Runtime's quantize_static on random inputs; the file, or why there is none."""
    python = python_of("ptq")
    if python is None:
        return f"{MISSING} (ptq.txt) is not here"
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(SAMPLES, *ready.shape[1:])).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    target = folder / "qdq.onnx"
    argv = [str(python), str(PEERS / "ptq_peer.py"), "ort_throughout", str(ready.path)]
    done = _measured([*argv, str(folder / "samples.npy"), str(target)])
    return done if isinstance(done, str) else target


def _onnx2tf(ready: Ready, folder: Path) -> Made:
    """The peer, from the float model to int8."""
    python = python_of("onnx2tf")
    if python is None:
        return Made(ONNX2TF, (), None, None, f"{MISSING} (onnx2tf.txt) is not here")
    samples = np.load(folder / "samples.npy")
    if samples.ndim == 4:
        samples = samples.transpose(0, 2, 3, 1)
    np.save(folder / "nhwc.npy", np.ascontiguousarray(samples))
    target = folder / "onnx2tf.tflite"
    argv = [str(python), str(PEERS / "onnx2tf_peer.py"), str(ready.path), ready.input]
    cost = _measured([*argv, str(folder / "nhwc.npy"), str(folder / "onnx2tf"), str(target)])
    if isinstance(cost, str):
        return Made(ONNX2TF, (), None, None, cost)
    return Made(ONNX2TF, (target,), cost.cpu_s, cost.peak_rss_bytes)


def _times(loaded: dict[str, Any]) -> Rounds:
    """Seconds of one call in LiteRT, one thread, in turns, by route."""
    if not loaded:
        return Rounds({})
    return interleaved({r: turn_of(one.invoke, TURN_S) for r, one in loaded.items()}, ROUNDS)


def _with_random_inputs(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """LiteRT with a file and inputs in it, and those inputs by their numbers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(1)
    inputs = {}
    for index, detail in enumerate(interpreter.get_input_details()):
        shape, dtype = detail["shape"], np.dtype(detail["dtype"])
        if dtype.kind == "f":
            array = generator.normal(size=shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            array = generator.integers(limits.min, limits.max + 1, shape).astype(dtype)
        inputs[str(index)] = array
        interpreter.set_tensor(detail["index"], array)
    return interpreter, inputs


def _elsewhere(ours: Made, folder: Path) -> Row:
    """How other interpreters run our .tflite: the share of values equal to LiteRT's."""
    path = next((path for path in ours.files if path.suffix == ".tflite"), None)
    if path is None:
        return {}
    there = folder / "elsewhere"
    there.mkdir()
    copy = there / "int8.tflite"
    copy.write_bytes(path.read_bytes())
    interpreter, inputs = _with_random_inputs(copy)
    np.savez(copy.with_suffix(".npz"), allow_pickle=False, **inputs)
    interpreter.invoke()
    details = interpreter.get_output_details()
    expected = [(interpreter.get_tensor(d["index"]), float(d["quantization"][0])) for d in details]
    row: Row = {}
    failures = []
    for name, module in INTERPRETERS.items():
        outputs = _outputs_of(name, module, copy)
        if isinstance(outputs, str):
            failures.append(f"{name}: {outputs}")
            continue
        pairs = list(zip(expected, outputs, strict=True))
        same = sum(int((one == other).sum()) for (one, _), other in pairs)
        row[f"{name}_share"] = same / sum(one.size for (one, _), _ in pairs)
        steps = [
            abs(one.astype(np.float64) - other).max() / (scale if one.dtype.kind == "f" else 1.0)
            for (one, scale), other in pairs
            if one.dtype.kind != "f" or scale > 0
        ]
        row[f"{name}_max_lsb"] = float(max(steps)) if steps else None
    return row | ({"failed": "; ".join(failures)} if failures else {})


def _outputs_of(name: str, module: str, path: Path) -> list[np.ndarray] | str:
    """What another interpreter gives for the inputs beside a file, or why it gives nothing."""
    python = python_of(name)
    if python is None:
        return f"{MISSING} ({name}.txt) is not here"
    done = _measured([str(python), str(PEERS / "tflite_peer.py"), module, str(path.parent)])
    if isinstance(done, str):
        return done
    found = path.parent / f"{path.stem}.{module}.npz"
    if not found.exists():
        said = path.parent / f"{path.stem}.{module}.txt"
        return said.read_text(encoding="utf-8").splitlines()[0][:160]
    with np.load(found) as arrays:
        return [arrays[str(index)] for index in range(len(arrays.files))]


if __name__ == "__main__":
    main()
