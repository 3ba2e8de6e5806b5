from __future__ import annotations

import pytest

from runtimes.arena import covered_bytes
from runtimes.backend import find_runtime, open_model
from runtimes.bench import bench
from runtimes.errors import ModelError
from runtimes.report import BenchRequest


@pytest.mark.parametrize(
    ("spans", "covered"),
    [
        ([], 0),
        ([(0, 1)], 64),
        ([(0, 64), (64, 65)], 192),
        ([(640, 64), (0, 64)], 128),
        ([(0, 640), (64, 128), (128, 64)], 640),
        ([(0, 128), (64, 128)], 192),
    ],
    ids=["none", "rounded up", "side by side", "a gap", "inside", "overlapping"],
)
def test_bytes_that_several_tensors_share_count_once(spans, covered):
    assert covered_bytes(spans) == covered


@pytest.mark.parametrize(
    ("model", "arena"), [("int8_tflite", 128 + 128), ("float_tflite", 320 + 512)]
)
def test_the_arena_holds_what_lives_at_once_and_no_constant(models, model, arena):
    """An input [4, 6, 3] and an output [4, 6, 5], 64 bytes at a time; the weights are elsewhere."""
    path = getattr(models, model)
    assert find_runtime(path).arena_bytes(path) == arena


def test_it_is_told_whichever_kernels_are_timed(models):
    def row(model, delegate):
        request = BenchRequest(str(model), seconds=0, min_runs=1, delegate=delegate)
        return bench(request).row

    timed = row(models.int8_tflite, "default")
    assert timed.delegate == "xnnpack"
    assert timed.arena_bytes == row(models.int8_tflite, "none").arena_bytes > 0
    assert row(models.int8_onnx, "default").arena_bytes is None


def test_a_delegate_s_memory_is_not_told(models, monkeypatch):
    backend = open_model(models.int8_tflite)
    runtime = find_runtime(models.int8_tflite)
    monkeypatch.setattr(type(runtime), "_allocated", lambda *_: backend._interpreter)
    assert runtime.arena_bytes(models.int8_tflite) is None


def test_an_interpreter_that_hides_its_operators_tells_none(models, monkeypatch):
    runtime = find_runtime(models.int8_tflite)
    monkeypatch.setattr(type(runtime), "_allocated", lambda *_: object())
    assert runtime.arena_bytes(models.int8_tflite) is None


def test_a_file_that_the_own_kernels_refuse_is_still_measured(models, monkeypatch):
    def refuse(*_):
        raise ModelError("no such kernel")

    monkeypatch.setattr("runtimes.tflite.arena_bytes", refuse)
    row = bench(BenchRequest(str(models.int8_tflite), seconds=0, min_runs=1)).row
    assert row.arena_bytes is None
    assert row.samples_ms
