"""`--dynamic-batch`: the files take any batch, and what fixes it is named."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from conversions import convolution
from onnx import helper
from onnx_models import Qdq, model, save, small, value, weights
from typer.testing import CliRunner

from exporter.cli import app
from exporter.convert import Wishes, convert
from exporter.errors import ModelError, UnsupportedError
from runtimes.backend import open_model

OPEN = Wishes(dynamic_batch=True, samples=2)
COUNT = 5
IMAGES = np.random.default_rng(0).standard_normal((COUNT, 3, 8, 8)).astype(np.float32)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def runs_for_any_batch(made, tmp_path, tflite=True, images=IMAGES):
    """The converted ONNX gives what the source gives for five samples; the .tflite what for one."""
    source = save(made, tmp_path / "in.onnx")
    wanted = session(source).run(None, {"x": images})[0]
    written = convert(source, tmp_path / "out.onnx", OPEN)
    assert written.inputs[0].shape[0] is written.outputs[0].shape[0] is None
    onnx_session = session(tmp_path / "out.onnx")
    assert onnx_session.get_inputs()[0].shape[0] == "batch"
    found = onnx_session.run(None, {"x": images})[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    if not tflite:
        return
    assert all(row.max_relative < 1e-4 for row in written.differences)
    convert(source, tmp_path / "out.tflite", OPEN)
    backend = open_model(tmp_path / "out.tflite")
    try:
        assert backend.inputs[0].shape[0] is backend.outputs[0].shape[0] is None
        stored = np.ascontiguousarray(np.moveaxis(images, 1, -1))
        whole = []
        for part in (stored, *(stored[i : i + 1] for i in range(len(stored)))):
            backend.resize(len(part))
            backend.set_inputs([part])
            backend.invoke()
            whole.append(backend.get_outputs()[0])
    finally:
        backend.close()
    np.testing.assert_allclose(whole[0], np.concatenate(whole[1:]), rtol=1e-5, atol=1e-6)


def test_float(tmp_path):
    runs_for_any_batch(small(), tmp_path)


def test_integers(tmp_path):
    """Slices and a concatenation between quantizers; another scale behind them."""
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    limits = [graph.constant(name, np.array([n])) for name, n in (("a", 1), ("b", 3), ("c", 1))]
    part = graph.node("Slice", [c, *limits], "part")
    joined = graph.quantize(graph.node("Concat", [part, part], "joined", axis=1), 0.031)
    mean = graph.quantize(graph.node("GlobalAveragePool", [joined], "mean"), 0.01)
    flat = graph.quantize(graph.node("Flatten", [mean], "flat"), 0.01, name="y")
    made = graph.model([value("x", ["N", 3, 8, 8])], [value(flat, None)])
    runs_for_any_batch(made, tmp_path)


BODIES = {
    "a shape that is computed": [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Gather", ["s", "first"], ["n"], "gather"),
        helper.make_node("Concat", ["n", "rest"], ["sizes"], "sizes", axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"], "reshape"),
    ],
    "a size that is computed": [
        helper.make_node("Shape", ["x"], ["s"], "shape", end=2),
        helper.make_node("Concat", ["s", "twice"], ["sizes"], "sizes", axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], "resize", mode="linear"),
    ],
    "rows laid end to end": [
        helper.make_node("Reshape", ["x", "rows"], ["r"], "reshape"),
        helper.make_node("MatMul", ["r", "w"], ["y"], "product"),
    ],
}
CONSTANTS = {
    "first": np.array([0]),
    "rest": np.array([12, 16]),
    "twice": np.array([16, 16]),
    "rows": np.array([0, 3, 64]),
    "w": weights(64, 5),
}


@pytest.mark.parametrize("name", BODIES)
def test_sizes_that_hold_the_batch(tmp_path, name):
    made = model(BODIES[name], [value("x", ["N", 3, 8, 8])], [value("y", None)], CONSTANTS)
    runs_for_any_batch(made, tmp_path, tflite=name != "rows laid end to end")


def test_other_axes_are_given(tmp_path):
    source = save(small(), tmp_path / "in.onnx")
    wishes = Wishes(shapes={"x": (1, 3, 8, 8)}, dynamic_batch=True, samples=1)
    assert convert(source, tmp_path / "out.onnx", wishes).inputs[0].shape == (None, 3, 8, 8)


def test_an_operator_that_fixes_the_batch_is_named(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2, 3]),
        helper.make_node("Relu", ["t"], ["y"], "relu"),
    ]
    made = model(nodes, [value("x", ["N", 3, 8, 8])], [value("y", None)])
    with pytest.raises(UnsupportedError, match="its batch is not open") as caught:
        convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.onnx", OPEN)
    assert caught.value.node == "turn"
    assert "--dynamic-batch" in str(caught.value)


def test_a_batch_that_is_fixed_cannot_be_kept_open(tmp_path):
    source = save(small(batch=1), tmp_path / "in.onnx")
    with pytest.raises(ModelError, match="no open batch to keep"):
        convert(source, tmp_path / "out.onnx", OPEN)


def test_a_tflite_kernel_of_one_batch_is_named(tmp_path):
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", strides=[3, 3])]
    constants = {"w": weights(3, 4, 2, 2)}
    made = model(nodes, [value("x", ["N", 3, 8, 8])], [value("y", None)], constants)
    source = save(made, tmp_path / "in.onnx")
    with pytest.raises(ModelError, match=r"cannot leave its batch open(.|\n)*ConvTranspose"):
        convert(source, tmp_path / "out.tflite", OPEN)
    assert not (tmp_path / "out.tflite").exists()
    convert(source, tmp_path / "out.onnx", OPEN)


def test_command(tmp_path):
    source = save(small(), tmp_path / "in.onnx")
    argv = ["convert", str(source), "-o", str(tmp_path / "out.tflite"), "--dynamic-batch"]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.output
    assert "fix the batch" not in done.output
