"""The cost of one answer: both files of both forms are measured, and differences are counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import exactness, routes
from benchmarks.exactness import ALL, differences, medians, rows_of
from benchmarks.latency import RUNTIMES
from benchmarks.routes import OURS, PLAIN, Made


@pytest.mark.slow
def test_a_network_has_a_row_for_each_runtime(tmp_path):
    from examples.models import ZOO

    bench = routes.prepare("resnet8", ZOO["resnet8"], tmp_path, small=True)
    made = {}
    for route, name in ((OURS, "ours"), (PLAIN, "plain")):
        routes.child("ours", "resnet8", "small", str(tmp_path), name, str(route == OURS))
        files = (tmp_path / f"{name}.tflite", tmp_path / f"{name}.onnx")
        made[route] = Made(route, files, None, None)
    assert made[OURS].files[0].read_bytes() != made[PLAIN].files[0].read_bytes()
    rows = rows_of(bench, made, rounds=2)
    assert [row["runtime"] for row in rows] == list(RUNTIMES.values())
    for row in rows:
        assert row["differing"] == 0
        assert row["values"] == 32 * 10
        assert row["sqnr_cost_db"] == pytest.approx(row["plain_sqnr_db"] - row["sqnr_db"], abs=0.02)
        assert row["low_ratio"] <= row["latency_ratio"] <= row["high_ratio"]


def test_values_half_a_step_apart_differ_and_images_are_turned():
    image = np.arange(12.0).reshape(1, 3, 2, 2) * 0.5
    plain = image[:, :, 0, 0].copy()
    moved = plain.copy()
    moved[0, 1] += 0.5
    answers = {
        (OURS, ".tflite"): [np.moveaxis(image, 1, -1), moved],
        (OURS, ".onnx"): [image + 0.1, plain],
    }
    runners = {(OURS, ".onnx"): SimpleNamespace(quantization=((0.5, 3), (0.5, 0)))}
    assert differences(runners, answers, OURS) == 1


def test_medians_are_of_each_runtime_and_count_what_differs():
    rows = [
        {
            "network": name,
            "runtime": "ONNX Runtime",
            "latency_ratio": ratio,
            "sqnr_cost_db": cost,
            "differing": 0,
            "plain_differing": 7,
        }
        for name, ratio, cost in (("a", 0.9, 0.3), ("b", 1.0, -0.1), ("c", 1.3, 0.0))
    ]
    failed = {"network": "d", "runtime": "none", "failed": "no"}
    (row,) = medians([*rows, failed])
    assert (row["network"], row["networks"]) == (ALL, 3)
    assert (row["latency_ratio"], row["sqnr_cost_db"], row["plain_differing"]) == (1.0, 0.0, 21)


def test_a_route_that_fails_is_a_row_that_says_why(monkeypatch):
    def make(bench, route, exported):
        return Made(route, (), None, None, "no memory" if route == PLAIN else "")

    monkeypatch.setattr(exactness, "make", make)
    (row,) = exactness.measure(SimpleNamespace(network="n"), SimpleNamespace(quick=True))
    assert row["runtime"] == "none"
    assert f"{PLAIN}: no memory" in row["failed"]
