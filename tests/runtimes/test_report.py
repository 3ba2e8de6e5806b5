from __future__ import annotations

import dataclasses
import json

import pytest

from runtimes.errors import EdgewrightError
from runtimes.report import (
    BenchReport,
    BenchRequest,
    Measurement,
    OperatorTime,
    ProfileRequest,
    RunRequest,
    StateSample,
    TensorSpec,
    decode,
)

ROW = Measurement(
    artifact="a.tflite",
    device="local",
    runtime="litert",
    runtime_version="2.3.0",
    delegate="xnnpack",
    threads=2,
    load_ms=1.25,
    first_ms=3.0,
    samples_ms=(1.0, 2.5),
    p50_ms=1.75,
    p90_ms=2.35,
    p99_ms=2.485,
    mean_ms=1.75,
    std_ms=1.06,
    memory_before_bytes=1,
    memory_loaded_bytes=2,
    peak_load_bytes=3,
    peak_inference_bytes=4,
    valid=True,
    notes=("a note",),
    pss_bytes=5,
    watched=(StateSample(0.5, None, 48.5), StateSample(1.5, 1500.0, None)),
    operators=(OperatorTime("conv", "QLinearConv", 0.25),),
)
REPORT = BenchReport(
    row=ROW,
    import_ms=1.0,
    cpu_s=0.5,
    window_s=0.6,
    inputs=(TensorSpec("x", (None, 3), "int8", 0.5, 0),),
    outputs=(),
)


def test_a_report_survives_json():
    assert decode(BenchReport, json.loads(json.dumps(dataclasses.asdict(REPORT)))) == REPORT


def test_a_measurement_takes_10_seconds_and_50_runs_unless_told_otherwise():
    found = decode(BenchRequest, {"model": "a.tflite"})
    assert (found.seconds, found.min_runs) == (10.0, 50)


def test_defaults_fill_what_a_request_leaves_out():
    found = decode(BenchRequest, {"model": "a.tflite", "seconds": 2})
    assert found == BenchRequest(model="a.tflite", seconds=2.0)
    assert isinstance(found.seconds, float)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("threads", 0, "1 or more"),
        ("threads", 1.5, "'threads'"),
        ("threads", True, "'threads'"),
        ("runtime", "tvm", "one of auto, litert"),
        ("delegate", "gpu", "one of default, none"),
        ("seconds", -1, "0 or more"),
        ("seconds", "10", "'seconds'"),
        ("min_runs", 0, "1 or more"),
        ("model", 5, "'model'"),
        ("thread", 2, "unknown .*thread"),
    ],
)
def test_bench_request_refuses(field, value, message):
    with pytest.raises(EdgewrightError, match=message):
        decode(BenchRequest, {"model": "a.tflite", field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 0, "1 or more, or null"),
        ("input_layouts", ["CHWN"], '"NHWC", "NCHW"'),
        ("output_layouts", "NCHW", "a list"),
        ("outputs", 3, "'outputs'"),
    ],
)
def test_run_request_refuses(field, value, message):
    with pytest.raises(EdgewrightError, match=message):
        decode(RunRequest, {"model": "a.onnx", "inputs": "i.npz", field: value})


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_only_objects_are_requests(data):
    with pytest.raises(EdgewrightError, match="must be a JSON object"):
        decode(BenchRequest, data)


def test_a_missing_field_is_named():
    with pytest.raises(EdgewrightError, match=r"missing \[.model"):
        decode(BenchRequest, {})


def test_a_profile_needs_runs():
    with pytest.raises(EdgewrightError, match="1 or more"):
        decode(ProfileRequest, {"model": "a.onnx", "runs": 0})
