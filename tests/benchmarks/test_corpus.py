"""The corpus: what counts as full int8, what is counted, and models made ready."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import corpus, corpus_models
from benchmarks.corpus import FULL, ISLANDS, NETWORKS, NONE, PART, UNTRIED, counts
from benchmarks.corpus_models import Source, filled, prepared
from benchmarks.routes import LITERT, ONNX2TF, OURS

ROUTES = {"ours": OURS, "onnx2tf": ONNX2TF, "litert": LITERT}


def rows(model, origin, **states):
    return [
        {"model": model, "origin": origin, "route": ROUTES[key], "int8": state}
        for key, state in states.items()
    ]


def test_counts_are_of_the_models_that_any_peer_converts():
    networks, packages = counts(
        [
            *rows("a", NETWORKS, ours=FULL, onnx2tf=FULL, litert=PART),
            *rows("b", NETWORKS, ours=ISLANDS, onnx2tf=PART, litert=FULL),
            *rows("c", NETWORKS, ours=NONE, onnx2tf=FULL, litert=FULL),
            *rows("d", NETWORKS, ours=FULL, onnx2tf=NONE, litert=UNTRIED),
            *rows("e", "onnx", ours=PART, onnx2tf=FULL),
        ]
    )
    assert (networks["tried"], networks["any_peer_full_int8"]) == (4, 3)
    assert (networks["ours_of_these"], networks["ours_of_these_without_islands"]) == (2, 1)
    assert networks["ours_of_these_share"] == pytest.approx(2 / 3)
    assert (packages["any_peer_full_int8"], packages["ours_of_these"]) == (1, 0)


def save(path, inputs, nodes, constants=(), opset=20):
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 3 if opset < 10 else 10
    onnx.save(made, path)
    return Source(path.stem, path, "a package")


def test_open_axes_get_the_shape_that_the_corpus_gives_them(tmp_path, monkeypatch):
    axes = ["?", 3, "?", "?"]  # all of one name, as in PP-OCR's classifier
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)
    source = save(tmp_path / "open.onnx", [x], [helper.make_node("Relu", ["x"], ["y"])])
    monkeypatch.setitem(corpus_models.SHAPES, "open", (1, 3, 8, 16))
    ready = prepared(source, tmp_path / "fixed.onnx")
    assert (ready.input, ready.shape) == ("x", (1, 3, 8, 16))
    (result,) = onnx.load(ready.path).graph.output
    assert [d.dim_value for d in result.type.tensor_type.shape.dim] == [1, 3, 8, 16]


def test_several_inputs_are_told(tmp_path):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    source = save(tmp_path / "two.onnx", inputs, [helper.make_node("Add", ["a", "b"], ["y"])])
    assert "more than one input" in prepared(source, tmp_path / "fixed.onnx")


def test_weights_that_were_left_out_are_filled_with_random_ones(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([3, 2, 1, 1]), "shape")
    model = filled(save(tmp_path / "light.onnx", [x], nodes, [shape], opset=9).path)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}["w"]
    assert weights.shape == (3, 2, 1, 1)
    assert np.unique(weights).size == 6


def test_the_packages_hold_models(monkeypatch):
    monkeypatch.setattr(corpus_models, "python_of", lambda name: None)  # not to install others
    names = {source.name for source in corpus_models.sources() if source.package == "onnx"}
    assert {"light_squeezenet", "light_shufflenet", "light_densenet121"} <= names


def test_a_file_with_a_float_tensor_inside_is_not_full_int8(tmp_path):
    from exporter.convert import Wishes, convert

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    source = save(tmp_path / "float.onnx", [x], nodes)
    convert(source.path, tmp_path / "float.tflite", Wishes(samples=0))
    assert not corpus.is_full_int8(tmp_path / "float.tflite")
