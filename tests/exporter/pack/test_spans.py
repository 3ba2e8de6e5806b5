from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack.spans import Located, _tidy, find_spans, format_of


def content_of(data, span):
    """A span's items in channel order."""
    dtypes = {("weights", 1): "i1", ("biases", 4): "<i4", ("floats", 4): "<f4"}
    array = np.frombuffer(
        data[span.offset : span.offset + span.size_bytes], dtypes[span.kind, span.item_bytes]
    )
    return array.reshape(span.shape).transpose(span.order)


def holds(data, spans, expected):
    """Whether one of the spans is this array, in this order of its axes."""
    contents = [content_of(data, span) for span in spans]
    return any(
        one.dtype == expected.dtype and one.shape == expected.shape and (one == expected).all()
        for one in contents
    )


def arrays_of(layers, floor_bytes=16):
    for layer in layers:
        for array in (layer.bias, layer.weight_scale, layer.bias_scale):
            if array.nbytes >= floor_bytes:
                yield array


@pytest.fixture(params=["sparse_layers", "mobile_layers"])
def layers(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def files(models, sparse_layers, tmp_path_factory):
    """One network in every format."""
    onnx = models.onnx(sparse_layers)
    ort = ort_file(onnx, tmp_path_factory.mktemp("ort"))
    return {"tflite": models.tflite(sparse_layers), "onnx": onnx, "ort": ort}


def test_tflite_spans_are_the_models_arrays_in_channel_order(models, layers):
    data = models.tflite(layers)
    spans = find_spans(data, "tflite").spans
    for place, layer in enumerate(layers):
        weights = layer.weights
        if weights.shape[1] == 1 and place:  # depthwise: stored as [1, kh, kw, out]
            weights = weights.transpose(0, 1, 2, 3).reshape(len(weights), 1, 3, 3)
        assert holds(data, spans, weights)
    for array in arrays_of(layers):
        assert holds(data, spans, array)


def test_onnx_spans_are_the_models_initializers(models, layers):
    data = models.onnx(layers)
    spans = find_spans(data, "onnx").spans
    for array in (*(layer.weights for layer in layers), *arrays_of(layers)):
        assert holds(data, spans, array)


def test_ort_spans_are_the_models_initializers(models, sparse_layers, tmp_path):
    data = ort_file(models.onnx(sparse_layers), tmp_path)
    assert format_of(data, "model.ort") == "ort"
    spans = find_spans(data, "ort").spans
    for layer in sparse_layers:
        assert holds(data, spans, layer.weights)
        assert holds(data, spans, layer.weight_scale)


def ort_file(model, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return (tmp_path / "model.ort").read_bytes()


def test_spans_ascend_and_do_not_overlap(models, layers):
    for data, file_format in ((models.tflite(layers), "tflite"), (models.onnx(layers), "onnx")):
        end = 0
        for span in find_spans(data, file_format).spans:
            assert span.offset >= end
            end = span.offset + span.size_bytes
        assert end <= len(data)


def test_onnx_floats_may_lie_in_float_data():
    from onnx import TensorProto, helper

    values = np.arange(20, dtype=np.float32)
    tensor = helper.make_tensor("a", TensorProto.FLOAT, [20], values)
    assert tensor.float_data
    data = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    (span,) = find_spans(data, "onnx").spans
    assert (content_of(data, span) == values).all()


def test_onnx_weights_with_channels_last_are_turned():
    from onnx import helper, numpy_helper

    weights = np.arange(40, dtype=np.int8).reshape(5, 8)
    tensors = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.ones(8, np.float32), "s"),
    ]
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"], axis=1)
    data = helper.make_model(helper.make_graph([node], "g", [], [], tensors)).SerializeToString()
    span = next(span for span in find_spans(data, "onnx").spans if span.kind == "weights")
    assert (content_of(data, span) == weights.T).all()


@pytest.mark.parametrize(
    ("start", "name", "expected"),
    [
        (b"\x1c\0\0\0TFL3", "a.bin", "tflite"),
        (b"\x1c\0\0\0ORTM", "a.bin", "ort"),
        (b"\x08\x0a", "a.ONNX", "onnx"),
        (b"\x08\x0a", "a.bin", "other"),
        (b"", "", "other"),
    ],
)
def test_formats(start, name, expected):
    assert format_of(start, name) == expected


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "ort"])
@pytest.mark.parametrize("seed", range(20))
def test_a_file_that_does_not_parse_has_no_spans_and_says_so(file_format, seed):
    content = np.random.default_rng(seed).integers(0, 256, 200, np.uint8).tobytes()
    found = find_spans(content[:4] + b"TFL3" + content, file_format)
    assert all(span.offset + span.size_bytes <= 208 for span in found.spans)
    assert found.spans or found.note or file_format != "onnx"


def test_a_format_that_is_no_models_says_so():
    assert "plain bytes" in find_spans(b"text", "other").note


def test_the_base_install_reads_every_format(monkeypatch, files, sparse_layers):
    for package in ("ai_edge_litert", "onnx", "onnxruntime", "google.protobuf"):
        monkeypatch.setitem(sys.modules, package, None)
    for file_format, data in files.items():
        found = find_spans(data, file_format)
        assert not found.note
        for layer in sparse_layers:
            weights = layer.weights.reshape(-1)
            assert any(
                (content_of(data, one).reshape(-1) == weights).all()
                for one in found.spans
                if one.size_bytes == weights.size
            )


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "ort"])
@given(cut=st.floats(0, 1), places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
@settings(max_examples=150, deadline=None)
def test_damaged_files_have_spans_within_them_or_none(files, file_format, cut, places):
    data = bytearray(files[file_format])
    for at, value in places:
        data[int(at * (len(data) - 1))] = value
    del data[int(cut * len(data)) + 1 :]
    for span in find_spans(bytes(data), file_format).spans:
        assert span.offset + span.size_bytes <= len(data)


def test_spans_that_overlap_or_are_too_small_are_dropped():
    def span(offset, length):
        return Located(offset, (length,), (0,), 1, "weights")

    found = [span(50, 20), span(0, 40), span(10, 40), span(0, 40), span(80, 15), span(100, 40)]
    assert _tidy(found, 120) == (span(0, 40), span(50, 20))
