"""int8 files of one network by every route: cost, size, fidelity, and latency in turns.

Networks of the zoo with random weights made lively, the same ones for all (benchmarks/routes.py).
In each runtime the files take turns (A B A B, one thread); `latency_ratio` is our file over the
peer's, with a 95 % interval; the row of `exact = false` says what exactness costs. Fidelity is
against the float network: signal to noise of all outputs, and the class that classifiers name; with
random weights it compares routes and says little of trained networks (benchmarks/ptq.py has one).
`load` is the machine's when the row was made: where it is above the number of cores, so many
others ran that the times mean little.
A row without a file says why. Results are written after every network; --more goes on with those
that the results lack (date, commit and machine are then those of the last run).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.environments import versions_of
from benchmarks.paired import Rounds, interleaved
from benchmarks.results import Value, arguments, kept_rows, publish
from benchmarks.routes import OURS, PLAIN, ROUTES, Bench, Made, export_fp32, make, prepare
from benchmarks.runner import FileRunner, Quantization, fidelity, float_tensors, turn_of

NETWORKS: Final = (
    "mobilenet_v2",
    "resnet18",
    "resnet50",
    "efficientnet_lite0",
    "mobilenet_v3_large",
    "ssdlite_mobilenet_v2",
    "unet",
)
QUICK_NETWORKS: Final = ("mobilenet_v2", "unet")
ROUNDS: Final = 51
QUICK_ROUNDS: Final = 15
TURN_S: Final = 0.03
RUNTIMES: Final = {".tflite": "LiteRT, XNNPACK", ".onnx": "ONNX Runtime"}

Row = dict[str, Value]


def main() -> None:
    """Go through the networks; the table and the file grow with each."""
    from examples.models import ZOO

    parser = arguments(__doc__, more=True)
    parser.add_argument("--networks", nargs="*", choices=list(ZOO), help="others than the usual")
    options = parser.parse_args()
    networks = options.networks or (QUICK_NETWORKS if options.quick else NETWORKS)
    versions = {n: v for e in ("ptq", "litert", "onnx2tf") for n, v in versions_of(e).items()}
    peers = {f"{name} (peers)": version for name, version in versions.items()}
    rows = kept_rows("latency", options)
    have = {row["network"] for row in rows}
    for name in networks:
        if name in have:
            continue
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            bench = prepare(name, ZOO[name], Path(folder), small=options.quick)
            rows += measure(bench, options)
        publish("latency", rows, options, versions=peers)


def measure(bench: Bench, options: argparse.Namespace) -> list[Row]:
    """All rows of one network."""
    exported = export_fp32(bench)
    made = {route: make(bench, route, exported) for route in ROUTES}
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    rows: list[Row] = []
    for suffix in RUNTIMES:
        files = {
            route: path for route, m in made.items() for path in m.files if path.suffix == suffix
        }
        runners = {}
        for route, path in files.items():
            try:
                runners[route] = open_file(path)
            except RuntimeError as error:  # what LiteRT raises on all that it refuses
                rows.append(_failed(bench, route, f"{RUNTIMES[suffix]} does not load it: {error}"))
        times = times_of(bench, runners, rounds)
        rows += [
            _row(bench, made[route], files[route], runner, times)
            for route, runner in runners.items()
        ]
    rows += [_failed(bench, m.route, m.failure) for m in made.values() if not m.files]
    return rows


def open_file(path: Path) -> FileRunner:
    """A file, loaded: our .onnx gives uint8 integers, whose scales the .tflite beside it has."""
    beside = path.with_suffix(".tflite")
    if path.suffix == ".tflite" or not beside.exists():
        return FileRunner(path)
    return FileRunner(path, _quantization(beside))


def _quantization(path: Path) -> tuple[Quantization, ...]:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(path)).get_output_details()
    return tuple((float(d["quantization"][0]), int(d["quantization"][1]) + 128) for d in details)


def times_of(bench: Bench, runners: Mapping[str, FileRunner], rounds: int) -> Rounds:
    """Seconds of one call, by route, in turns of about `TURN_S`."""
    calls = {}
    for route, runner in runners.items():
        runner.set_input(runner.takes(bench.frames[:1]))
        calls[route] = turn_of(runner.invoke, TURN_S)
    return interleaved(calls, rounds)


def _row(bench: Bench, made: Made, path: Path, runner: FileRunner, times: Rounds) -> Row:
    sqnr_db, agreement = fidelity(bench.real, runner.answers(bench.frames))
    ratio = times.ratio(OURS, made.route) if OURS in times.values else None
    floats, transposes = _structure(path)
    return {
        "network": bench.network,
        "route": made.route,
        "peer": made.route not in (OURS, PLAIN),
        "runtime": RUNTIMES[path.suffix],
        "cpu_s": made.cpu_s,
        "peak_rss_mb": None if made.peak_bytes is None else made.peak_bytes / 1e6,
        "file_bytes": path.stat().st_size,
        "float_tensors": floats,
        "transposes": transposes,
        "sqnr_db": round(sqnr_db, 2),
        "agreement": agreement,
        "latency_ms_p50": 1e3 * times.median(made.route),
        "latency_ratio": None if ratio is None else ratio.value,
        "low_ratio": None if ratio is None else ratio.low,
        "high_ratio": None if ratio is None else ratio.high,
        "load": os.getloadavg()[0],
        "failed": "",
    }


def _failed(bench: Bench, route: str, reason: str) -> Row:
    row: Row = dict.fromkeys(("cpu_s", "peak_rss_mb", "file_bytes", "float_tensors", "transposes"))
    row |= dict.fromkeys(("sqnr_db", "agreement", "latency_ms_p50", "latency_ratio"))
    row |= dict.fromkeys(("low_ratio", "high_ratio", "load"))
    start: Row = {"network": bench.network, "route": route, "peer": True, "runtime": "none"}
    return start | row | {"failed": reason}


def _structure(path: Path) -> tuple[int | None, int | None]:
    """Float tensors between the operators of a .tflite, and TRANSPOSE operators; else None."""
    if path.suffix != ".tflite":
        return None, None
    from exporter.tflite.reader import read_tflite

    file = read_tflite(path)
    return float_tensors(file), sum(operator.code == "TRANSPOSE" for operator in file.operators)


if __name__ == "__main__":
    main()
