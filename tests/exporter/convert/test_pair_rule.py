"""Weights whose 16-bit sums saturate on some CPUs: told, and quantized anew on request."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from onnx_models import Qdq, products_saturate, random_integers, save, value
from typer.testing import CliRunner

from exporter.cli import app
from exporter.convert import IN_ONNX, IN_TFLITE, Wishes, convert
from exporter.graph.pairs import PAIR_MAX, largest_pairs
from exporter.graph.read import read_file

WITHIN, BEYOND = 64, 127


def network(high):
    """Conv, depthwise Conv, Gemm with one scale a channel; weights within ±high."""
    graph = Qdq()
    x = graph.quantize("x", 0.02)

    def weight(name, shape):
        integers = random_integers(*shape, seed=len(name), low=-high, high=high + 1)
        scales = np.linspace(0.002, 0.004, shape[0]).astype(np.float32)
        return graph.integers(name, integers, scales, axis=0)

    c = graph.node("Conv", [x, weight("w", (8, 3, 3, 3))], "conv", pads=[1, 1, 1, 1])
    c = graph.quantize(c, 0.05)
    d = graph.node("Conv", [c, weight("deep", (8, 1, 3, 3))], "depthwise", group=8)
    d = graph.quantize(d, 0.05)
    f = graph.node("Flatten", [d], "flat")
    y = graph.node("Gemm", [f, weight("v1", (5, 288))], "gemm", transB=1)
    graph.quantize(y, 0.2, name="y")
    return graph.model([value("x", [1, 3, 8, 8])], [value("y", None)])


@pytest.fixture(params=["int8", "uint8"])
def wide(request, tmp_path):
    made = network(BEYOND)
    if request.param == "uint8":  # the same numbers with zero point 128
        for tensor in made.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if tensor.name.startswith(("w", "deep", "v1")) and array.dtype == np.int8:
                moved = (array.astype(np.int16) + 128).astype(np.uint8)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return save(made, tmp_path / "wide.onnx")


def between_runtimes(conversion):
    return next(r for r in conversion.differences if {r.one, r.other} == {IN_TFLITE, IN_ONNX})


def weights_of(path):
    graph = read_file(path)
    return {
        operator.name: graph.tensors[operator.inputs[1]]
        for operator in graph.operators
        if operator.kind in ("Conv", "Gemm")
    }


def test_layers_that_break_the_rule_are_named(tmp_path):
    path = save(network(BEYOND), tmp_path / "wide.onnx")
    conversion = convert(path, tmp_path / "out.onnx")
    assert [entry.node for entry in conversion.saturating] == ["conv", "gemm"]
    assert conversion.requantized == ()
    for entry in conversion.saturating:
        pairs = largest_pairs(weights_of(tmp_path / "out.onnx")[entry.node].data)
        assert (entry.largest, entry.of) == (pairs.max(), len(pairs))
        assert entry.channels == np.count_nonzero(pairs > PAIR_MAX)
    if products_saturate():
        assert between_runtimes(conversion).differing > 0


def test_weights_within_the_rule_are_left(tmp_path):
    path = save(network(WITHIN), tmp_path / "narrow.onnx")
    conversion = convert(path, tmp_path / "out.tflite", Wishes(requantize=True))
    assert conversion.saturating == conversion.requantized == ()
    assert between_runtimes(conversion).differing == 0


def test_they_are_quantized_anew_on_request(wide, tmp_path):
    convert(wide, tmp_path / "before.onnx", Wishes(samples=0))
    before = weights_of(tmp_path / "before.onnx")
    conversion = convert(wide, tmp_path / "after.onnx", Wishes(requantize=True, samples=32))
    after = weights_of(tmp_path / "after.onnx")
    assert conversion.saturating == ()
    assert [entry.node for entry in conversion.requantized] == ["conv", "gemm"]
    assert between_runtimes(conversion).differing == 0
    for entry in conversion.requantized:
        assert "dB SQNR" in entry.detail
        assert largest_pairs(after[entry.node].data).max() <= PAIR_MAX
    for name, old in before.items():
        new = after[name]
        kept = largest_pairs(old.data) <= PAIR_MAX if name != "depthwise" else slice(None)
        assert np.array_equal(new.data[kept], old.data[kept])
        wide_scale, step = (
            tensor.quantization.scale.reshape(-1, *(1,) * (old.data.ndim - 1))
            for tensor in (old, new)
        )
        assert (abs(new.data * step - old.data * wide_scale) <= step / 2 * 1.0001).all()


def test_the_command_says_what_to_do(tmp_path):
    path = save(network(BEYOND), tmp_path / "wide.onnx")
    done = CliRunner().invoke(app, ["convert", str(path), "-o", str(tmp_path / "out.tflite")])
    assert done.exit_code == 0
    assert "NOT ONE ANSWER: 2 operator(s)" in done.output
    assert "conv: 8 of 8 channels" in done.output
    assert "--requantize" in done.output
