"""What one answer in both runtimes costs: files by the exact rules against plain ones, in turns.

Every example network is quantized twice from the same weights and frames, by min/max: with the
rules of `exporter/quantize/exact.py` and the pair rule, and with `exact = false`. `latency_ratio`
is the exact file's time over the plain one's, in turns (A B A B, one thread), with a 95 % interval;
`sqnr_cost_db` is the plain file's signal to noise less the exact one's, against the float network
over 32 frames: below 0 where exactness gained. `differing` and `plain_differing` are the output
values of .tflite and .onnx that are not equal. Goals: at most 1.02 and 0.1 dB. One network's noise
moves by some tenths of a dB with any scale that moves, up and down, so the last rows are medians of
all. Weights are random, made lively; benchmarks/ptq.py has a real network with `exact = false`.
Results are written after every network; --more goes on with those that the results lack.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from benchmarks.latency import QUICK_ROUNDS, ROUNDS, RUNTIMES, open_file, times_of
from benchmarks.results import Value, arguments, kept_rows, publish
from benchmarks.routes import OURS, PLAIN, Bench, Made, make, prepare
from benchmarks.runner import FileRunner, fidelity

QUICK_NETWORKS: Final = ("resnet8", "mobilenet_v2")
ALL: Final = "median of all"
MEDIANS: Final = ("latency_ratio", "sqnr_cost_db")

Row = dict[str, Value]


def main() -> None:
    """Go through the networks; the table and the file grow with each."""
    from examples.models import ZOO

    parser = arguments(__doc__, more=True)
    parser.add_argument("--networks", nargs="*", choices=list(ZOO), help="all by default")
    options = parser.parse_args()
    rows = [row for row in kept_rows("exactness", options) if row["network"] != ALL]
    have = {row["network"] for row in rows}
    for name in options.networks or (QUICK_NETWORKS if options.quick else ZOO):
        if name in have:
            continue
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            bench = prepare(name, ZOO[name], Path(folder), small=options.quick)
            rows += measure(bench, options)
        publish("exactness", [*rows, *medians(rows)], options)


def measure(bench: Bench, options: argparse.Namespace) -> list[Row]:
    """One network: a row for each runtime, or one that says why there is none."""
    made = {route: make(bench, route, None) for route in (OURS, PLAIN)}
    failed = [f"{route}: {one.failure}" for route, one in made.items() if not one.files]
    if failed:
        return [{"network": bench.network, "runtime": "none", "failed": "; ".join(failed)}]
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    return rows_of(bench, made, rounds)


def rows_of(bench: Bench, made: Mapping[str, Made], rounds: int) -> list[Row]:
    """Both files of both routes, in each runtime."""
    runners = {
        (route, path.suffix): open_file(path) for route, one in made.items() for path in one.files
    }
    answers = {key: runner.answers(bench.frames) for key, runner in runners.items()}
    differing = {route: differences(runners, answers, route) for route in made}
    rows: list[Row] = []
    for suffix, runtime in RUNTIMES.items():
        times = times_of(bench, {route: runners[route, suffix] for route in made}, rounds)
        ratio = times.ratio(OURS, PLAIN)
        sqnr_db, agreement = fidelity(bench.real, answers[OURS, suffix])
        plain_db, plain_agreement = fidelity(bench.real, answers[PLAIN, suffix])
        rows.append(
            {
                "network": bench.network,
                "runtime": runtime,
                "latency_ms_p50": 1e3 * times.median(OURS),
                "plain_latency_ms_p50": 1e3 * times.median(PLAIN),
                "latency_ratio": ratio.value,
                "low_ratio": ratio.low,
                "high_ratio": ratio.high,
                "sqnr_db": round(sqnr_db, 2),
                "plain_sqnr_db": round(plain_db, 2),
                "sqnr_cost_db": round(plain_db - sqnr_db, 2),
                "agreement": agreement,
                "plain_agreement": plain_agreement,
                "values": sum(output.size for output in bench.real),
                "differing": differing[OURS],
                "plain_differing": differing[PLAIN],
                "load": os.getloadavg()[0],
            }
        )
    return rows


def differences(
    runners: Mapping[tuple[str, str], FileRunner],
    answers: Mapping[tuple[str, str], list[np.ndarray]],
    route: str,
) -> int:
    """How many output values of a route's .tflite and .onnx are more than half a step apart."""
    tflite, onnx = (answers[route, suffix] for suffix in RUNTIMES)
    steps = [scale for scale, _ in runners[route, ".onnx"].quantization or ()]
    count = 0
    for one, other, step in zip(tflite, onnx, steps, strict=True):
        channels_first = one if one.shape == other.shape else np.moveaxis(one, -1, 1)
        count += int(np.count_nonzero(np.abs(channels_first - other) > step / 2))
    return count


def medians(rows: Sequence[Mapping[str, Value]]) -> list[Row]:
    """One row for each runtime: the middle of all networks that were measured there."""
    found: list[Row] = []
    for runtime in RUNTIMES.values():
        own = [row for row in rows if row["runtime"] == runtime]
        if own:
            middle: Row = {key: median(float(row[key] or 0) for row in own) for key in MEDIANS}
            counts: Row = {"networks": len(own), "differing": _sum(own, "differing")}
            counts["plain_differing"] = _sum(own, "plain_differing")
            start: Row = {"network": ALL, "runtime": runtime}
            found.append(start | middle | counts)
    return found


def _sum(rows: Sequence[Mapping[str, Value]], key: str) -> int:
    return sum(int(row[key] or 0) for row in rows)


if __name__ == "__main__":
    main()
