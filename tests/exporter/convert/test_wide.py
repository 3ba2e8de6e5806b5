"""int16 activations of another quantizer: carried where TFLite has them, refused where not."""

from __future__ import annotations

import numpy as np
import onnx
import ort_models
import pytest
from onnx import TensorProto, numpy_helper
from onnx_models import Qdq, random_integers, save, value, weights

from exporter.convert import IN_ONNX, IN_SOURCE, IN_WIDE_TFLITE, Wishes, convert
from exporter.errors import UnsupportedError
from exporter.graph.read import read_file
from exporter.tflite.reader import read_tflite

X = [1, 3, 8, 8]
QUICK = Wishes(samples=0)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """Makes one of quantize_static's models; the float one is beside it."""
    folder = tmp_path_factory.mktemp("wide")
    source = save(ort_models.network(), folder / "float.onnx")

    def make(activations, weights="QInt8", *, symmetric):
        target = folder / f"{activations}{weights}{symmetric}.onnx"
        if not target.exists():
            options = {"ActivationSymmetric": symmetric}
            ort_models.quantized(source, target, "QDQ", activations, weights, True, **options)
        return target

    return make


def lsb(conversion, one, other):
    row = next(row for row in conversion.differences if {row.one, row.other} == {one, other})
    return row.max_lsb


def scales_of(path):
    """What a source's activations are quantized with."""
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    nodes = [n for n in onnx.load(path).graph.node if n.op_type == "QuantizeLinear"]
    return {float(constants[node.input[1]]) for node in nodes}


@pytest.mark.parametrize("activations", ["QInt16", "QUInt16"])
def test_symmetric_activations_are_carried(quantized, tmp_path, activations):
    source = quantized(activations, symmetric=True)
    conversion = convert(source, tmp_path / "out.tflite")
    assert conversion.source.activations == (activations.removeprefix("Q").lower(),)
    assert conversion.requantized == ()
    assert conversion.saturating == ()
    assert round(lsb(conversion, IN_WIDE_TFLITE, IN_ONNX)) <= 1
    file = read_tflite(tmp_path / "out.tflite")
    wide = [t for t in file.tensors if t.dtype == np.int16]
    assert {t.zero_point for t in wide} == {0}
    assert {float(t.scale[0]) for t in wide} == scales_of(source)


def test_the_onnx_gives_what_the_source_gives_before_its_session_rewrites_it(quantized, tmp_path):
    """A session's own rewrites move such a source's answers by some steps (1.32: up to 60)."""
    import onnxruntime

    source = quantized("QInt16", symmetric=True)
    convert(source, tmp_path / "out.onnx", QUICK)
    given = np.random.default_rng(1).standard_normal(ort_models.SHAPE).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    found = [
        onnxruntime.InferenceSession(str(path), options).run(None, {"x": given})[0]
        for path in (source, tmp_path / "out.onnx")
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("activations", ["QInt16", "QUInt16"])
def test_another_zero_point_is_refused_or_moved_on_request(quantized, tmp_path, activations):
    source = quantized(activations, symmetric=False)
    with pytest.raises(UnsupportedError) as caught:
        convert(source, tmp_path / "out.tflite")
    message = " ".join(str(caught.value).split())
    assert "its integers are int16 with zero point -" in message
    assert "int16 kernels take zero point 0" in message
    assert "--requantize" in message
    # Within the ranges that were calibrated: beyond them the source saturates earlier.
    given = 0.5 * np.random.default_rng(1).standard_normal((4, *ort_models.SHAPE[1:]))
    np.savez(tmp_path / "given.npz", x=given.astype(np.float32))
    wishes = Wishes(requantize=True, inputs=tmp_path / "given.npz")
    conversion = convert(source, tmp_path / "out.tflite", wishes)
    moved = [c for c in conversion.requantized if c.what == "int16 activations get zero point 0"]
    assert len(moved) > 10
    assert all("before" in change.detail for change in moved)
    assert round(lsb(conversion, IN_WIDE_TFLITE, IN_ONNX)) <= 1
    # The quantizer took the Relus out, as the ranges begin at zero: they are back.
    assert lsb(conversion, IN_SOURCE, IN_ONNX) < 32768 / 250


def test_int16_weights_are_refused_or_become_int8_on_request(quantized, tmp_path):
    source = quantized("QInt16", "QInt16", symmetric=True)
    with pytest.raises(UnsupportedError, match="its weights are int16; kernels take int8 weights"):
        convert(source, tmp_path / "out.tflite")
    conversion = convert(source, tmp_path / "out.tflite", Wishes(requantize=True))
    what = "int16 weights are quantized anew"
    assert len([c for c in conversion.requantized if c.what == what and "SQNR" in c.detail]) == 5
    assert lsb(conversion, IN_SOURCE, IN_WIDE_TFLITE) < 32768 / 100


def layer(graph, source, name, channels):
    weight = graph.integers(f"{name}_w", random_integers(4, channels, 3, 3, seed=1), 0.003)
    bias = graph.constant(f"{name}_b", weights(4, seed=3))
    return graph.node("Conv", [source, weight, bias], name, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("opset", [20, 21])
def test_some_layers_in_int16_and_others_in_int8(tmp_path, opset):
    graph = Qdq()
    x = graph.quantize(layer(graph, graph.quantize("x", 0.02), "first", 3), 0.03, name="a")
    wide = graph.quantize(x, 0.03 / 127, dtype=np.int16, name="b")
    second = graph.node("Relu", [layer(graph, wide, "second", 4)], "relu")
    c = graph.quantize(second, 0.0003, dtype=np.int16)
    narrow = graph.quantize(c, 0.04, -128, name="d")
    graph.quantize(layer(graph, narrow, "third", 4), 0.05, name="y")
    made = graph.model([value("x", X)], [value("y", None)], opset)
    if opset < 21:
        for node in made.graph.node:
            if "Linear" in node.op_type:
                node.domain = "com.microsoft"
        made.opset_import.add(domain="com.microsoft", version=1)
    conversion = convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.tflite")
    assert [e for e in conversion.in_float if not e.by_design] == []
    assert all(round(row.max_lsb) <= 1 for row in conversion.differences)
    kinds = [t.dtype.name for t in read_tflite(tmp_path / "out.tflite").tensors]
    assert kinds.count("int16") == 2


def test_a_layer_from_int8_to_int16_is_left_in_float_and_named(tmp_path):
    graph = Qdq()
    a = layer(graph, graph.quantize("x", 0.02), "first", 3)
    graph.quantize(a, 0.0003, dtype=np.int16, name="y")
    made = graph.model([value("x", X)], [value("y", None)], 21)
    conversion = convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.tflite")
    (left,) = [entry for entry in conversion.in_float if not entry.by_design]
    assert left.node == "first"
    assert "int8 values and gives int16 ones" in left.reason
    # The two runtimes add up in another order, and a step of int16 is fine.
    assert all(round(row.max_lsb) <= 1 for row in conversion.differences)


@pytest.mark.parametrize("dtype", [TensorProto.UINT16, TensorProto.INT16])
def test_frames_that_tflite_does_not_have_are_refused(tmp_path, dtype):
    graph = Qdq()
    kind = np.dtype(np.uint16 if dtype == TensorProto.UINT16 else np.int16)
    scale, point = graph.constant("s", np.float32(0.001)), graph.constant("p", kind.type(7))
    real = graph.node("DequantizeLinear", ["frames", scale, point], "x")
    graph.quantize(layer(graph, real, "first", 3), 0.0003, dtype=np.int16, name="y")
    made = graph.model([value("frames", X, dtype)], [value("y", None)], 21)
    wishes = Wishes(samples=0, requantize=True)
    with pytest.raises(UnsupportedError) as caught:
        convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.tflite", wishes)
    message = " ".join(str(caught.value).split())
    assert f"an input or output of the model is {kind}" in message
    assert "give the model float inputs and outputs" in message


def test_the_written_onnx_says_the_opset_that_knows_int16(quantized, tmp_path):
    convert(quantized("QInt16", symmetric=True), tmp_path / "out.onnx", QUICK)
    opsets = {o.domain: o.version for o in onnx.load(tmp_path / "out.onnx").opset_import}
    assert opsets[""] >= 21
    assert read_file(tmp_path / "out.onnx").is_wide
