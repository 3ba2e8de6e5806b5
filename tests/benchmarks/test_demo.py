"""The demo's rows come out of a build, and those of a run out of what it cost."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import builds
import pytest
from tiny import write_recipe

from benchmarks import demo
from benchmarks.process import CommandError, Cost
from exporter.errors import BuildError

RECIPE = demo.EXAMPLE / "recipe.toml"


@pytest.fixture
def build(tmp_path):
    return builds.write_build(tmp_path / "build")


def test_the_rows_are_the_table_s(build):
    fp32, tflite, onnx = demo.table_rows(build)

    assert [row["precision"] for row in (fp32, tflite, onnx)] == ["fp32", "int8", "int8"]
    assert [row["runtime"] for row in (fp32, tflite, onnx)] == [
        "ONNX Runtime",
        "TFLite",
        "ONNX Runtime",
    ]
    size, package = builds.FILE_BYTES[builds.TFLITE], builds.PACKAGE_BYTES[builds.TFLITE]
    assert (tflite["file_bytes"], tflite["package_bytes"]) == (size, package)
    assert tflite["fp32_bytes"] == builds.FILE_BYTES["digits.fp32.tflite"]
    assert tflite["ratio"] == pytest.approx(tflite["fp32_bytes"] / package)
    assert onnx["fp32_bytes"] == builds.FILE_BYTES[builds.FP32]
    assert tflite["latency_ratio"] == tflite["latency_ms_p50"] / fp32["latency_ms_p50"]
    assert fp32["latency_ratio"] == 1.0
    share = tflite["accuracy"]
    samples = json.loads((build / "accuracy.json").read_text())["samples"]
    assert tflite["stderr_pt"] == pytest.approx(100 * math.sqrt(share * (1 - share) / samples))
    assert f"{samples:,}" in tflite["dataset"]


def test_a_build_that_is_not_finished_is_refused(build):
    (build / "accuracy.json").unlink()

    with pytest.raises(BuildError, match=r"accuracy\.json is missing"):
        demo.table_rows(build)


def test_a_build_is_published_without_a_run(build, tmp_path):
    argv = [sys.executable, demo.ROOT / "benchmarks" / "demo.py", "--build", build]
    done = subprocess.run(
        [*argv, "--out", tmp_path / "out"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert document["rows"] == json.loads(json.dumps(demo.table_rows(build)))


@pytest.mark.parametrize("code", [0, 1])
def test_a_verdict_is_no_failure(code, monkeypatch, tmp_path):
    monkeypatch.setattr(
        demo, "measure", lambda *_, **__: Cost(code, 1.0, 2.0, 3_000_000, 0.25, "", "")
    )

    cost = demo.run_recipe(RECIPE, tmp_path)

    assert demo.cost_row(cost) == {
        "network": demo.NETWORK,
        "wall_s": 1.0,
        "cpu_s": 2.0,
        "others_cpu_s": 0.2,
        "peak_rss_mb": 3.0,
    }


def test_a_run_that_fails_says_why(monkeypatch, tmp_path):
    failed = Cost(2, 1.0, 2.0, 3_000_000, None, "", "error: no such recipe")
    monkeypatch.setattr(demo, "measure", lambda *_, **__: failed)

    with pytest.raises(CommandError, match="no such recipe"):
        demo.run_recipe(RECIPE, tmp_path)


@pytest.mark.slow
def test_a_run_gives_every_row(tmp_path):
    write_recipe(tmp_path)
    rows = demo.run_rows(tmp_path / "recipe.toml", tmp_path / "build")

    assert [row.get("runtime") for row in rows] == ["ONNX Runtime", "TFLite", "ONNX Runtime", None]
    assert all(row["accuracy"] is not None for row in rows[:3])
    assert rows[3]["cpu_s"] > 1
