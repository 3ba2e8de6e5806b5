"""edgewright inspect on model files: what they hold, and hostile ones."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from typer.testing import CliRunner

from exporter.cli import app
from exporter.errors import EdgewrightError, ModelError
from exporter.inspection import LayerReport, ModelReport, inspect_model
from exporter.ort import mobile, qdq, qoperator

FORMATS = ("n.tflite", "n.onnx", "n.qoperator.onnx", "n.ort")
DENSE = {"FULLY_CONNECTED", "Gemm", "QGemm"}
CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "Conv", "QLinearConv"}


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    """One network in all formats."""
    folder = tmp_path_factory.mktemp("inspected")
    canonical = ir.load(made.qdq)
    (folder / "n.tflite").write_bytes(made.tflite.read_bytes())
    (folder / "n.onnx").write_bytes(made.onnx.read_bytes())
    ir.save(qoperator.lower(canonical), folder / "n.qoperator.onnx")
    ir.save(qdq.lower(canonical, unsigned=False), folder / "signed.onnx")
    mobile.convert(folder / "signed.onnx", folder / "n.ort")
    return folder


def layer(report: ModelReport, codes: set[str], index: int = 0) -> LayerReport:
    return [row for row in report.layers if row.operator in codes][index]


@pytest.mark.parametrize("name", FORMATS)
def test_each_layer_is_what_the_canonical_graph_has(folder, made, name):
    report = inspect_model(folder / name)
    assert report.bytes == (folder / name).stat().st_size
    wanted = [op for op in made.graph.operators if op.kind in ("Conv", "Gemm")]
    found = [row for row in report.layers if row.operator in CONVOLUTIONS | DENSE]
    assert len(found) == len(wanted) == 5
    for row, operator in zip(found, wanted, strict=True):
        weight = made.graph.tensors[operator.inputs[1]]
        held = row.weight
        assert held is not None
        assert (held.dtype, held.values, held.bytes) == ("int8", weight.data.size, weight.data.size)
        assert held.zeros == int((weight.data == 0).sum())
        assert held.distinct_levels == len(np.unique(weight.data))
        assert sorted(held.scales) == sorted(weight.quantization.scale.astype(float).tolist())
        assert 0 < held.entropy_bits <= 8
        assert row.constant_bytes >= held.bytes
        result = made.graph.tensors[operator.outputs[0]].quantization
        given = row.outputs[0]
        assert given.scale == pytest.approx(float(result.scale))
        shift = 128 if given.dtype == "uint8" else 0
        assert given.zero_point == result.zero_point + shift
        source = made.graph.tensors[operator.inputs[0]].quantization
        assert row.inputs[0].scale == pytest.approx(float(source.scale))


@pytest.mark.parametrize("name", FORMATS)
def test_inputs_and_outputs_have_shapes_and_scales(folder, name):
    report = inspect_model(folder / name)
    (entrance,), (result,) = report.inputs, report.outputs
    assert (entrance.name, entrance.dtype, entrance.shape[1:]) == ("input", "uint8", (32, 24, 3))
    assert result.shape is not None
    assert result.shape[1:] == (7,)
    assert result.scale is not None


def test_scales_around_a_node_are_not_layers(folder):
    report = inspect_model(folder / "n.onnx")
    kinds = [row.operator for row in report.layers]
    assert kinds.count("Conv") == 4
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds)


def test_a_float_file_has_weights_without_scales(tmp_path):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 3], [0, 1, 2, 0, 0, 1])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, {"labels": "cat dog"})
    onnx.save(model, tmp_path / "f.onnx")
    report = inspect_model(tmp_path / "f.onnx")
    (row,) = report.layers
    assert row.weight is not None
    assert (row.weight.scales, row.weight.zero_point) == ((), None)
    assert (row.weight.sparsity, row.weight.distinct_levels) == (0.5, 3)
    assert row.weight.entropy_bits == pytest.approx(1.4591, abs=1e-4)
    assert row.outputs[0].shape == (None, 3)
    assert report.metadata == {"labels": "cat dog"}


def run(*arguments: object):
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


@pytest.mark.parametrize("name", FORMATS)
def test_the_command_prints_a_table_or_json(folder, name):
    table = run("inspect", folder / name).output
    first = layer(inspect_model(folder / name), CONVOLUTIONS).weight
    assert first is not None
    assert f" {first.distinct_levels} " in table
    assert f"{first.entropy_bits:.2f}" in table
    document = json.loads(run("inspect", folder / name, "--json").output)
    assert ModelReport.model_validate(document) == inspect_model(folder / name)


# Files that are no models, or damaged ones


def test_what_is_missing_or_unknown_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        inspect_model(tmp_path / "none.tflite")
    (tmp_path / "a.bin").write_bytes(b"12345678")
    with pytest.raises(ModelError) as caught:
        inspect_model(tmp_path / "a.bin")
    assert caught.value.expected == ".tflite, .onnx, .ort"
    assert "begins with b'12345678'" in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_file_that_is_cut_off_is_refused(folder, tmp_path, name, share):
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"damaged|cannot be read|holds no"):
        inspect_model(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(deadline=None, max_examples=40, derandomize=True)
def test_bytes_that_were_changed_give_a_report_or_a_clear_error(folder, name, data):
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    altered = folder / f"altered.{name}"
    altered.write_bytes(content)
    with contextlib.suppress(EdgewrightError):
        assert inspect_model(altered).bytes == len(content)


def test_tables_within_each_other_do_not_fill_the_memory(tmp_path):
    """A thousand subgraphs that are one, of a thousand tensors that are one: a million to read."""
    builder = flatbuffers.Builder(0)
    tensor = schema.TensorT().Pack(builder)

    def repeated(offset: int) -> int:
        builder.StartVector(4, 1000, 4)
        for _ in range(1000):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    tensors = repeated(tensor)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraphs = repeated(schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    (tmp_path / "bomb.tflite").write_bytes(builder.Output())
    with pytest.raises(ModelError, match="entries and more in"):
        inspect_model(tmp_path / "bomb.tflite")


def test_an_operator_of_a_tensor_that_is_not_there_is_refused(folder, tmp_path):
    model = schema.ModelT.InitFromPackedBuf((folder / "n.tflite").read_bytes(), 0)
    model.subgraphs[0].operators[1].inputs = [5000]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "beyond.tflite").write_bytes(builder.Output())
    with pytest.raises(ModelError, match="it names a tensor beyond its"):
        inspect_model(tmp_path / "beyond.tflite")


def test_a_cycle_of_nodes_does_not_hang(tmp_path):
    nodes = [
        helper.make_node("Relu", ["b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "b")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    (tmp_path / "c.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    assert len(inspect_model(tmp_path / "c.onnx").layers) == 2


def test_weights_outside_the_folder_are_not_read(tmp_path):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [tensor],
    )
    (tmp_path / "e.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError):
        inspect_model(tmp_path / "e.onnx")


def test_a_third_partys_tflite_types_are_named(tmp_path):
    """float16 weights, an int4 tensor without a numpy type, an open batch."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs = 3, [graph]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.arange(4, dtype=np.float16).tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes = [code]
    graph.tensors = []
    for name, kind, buffer in (("w", "FLOAT16", 1), ("x", "INT4", 0), ("y", "FLOAT32", 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, getattr(schema.TensorType, kind), buffer
        tensor.shape, tensor.shapeSignature = [1, 4], [-1, 4]
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1], [2]
    graph.operators, graph.inputs, graph.outputs = [operator], [1], [2]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (tmp_path / "t.tflite").write_bytes(builder.Output())
    report = inspect_model(tmp_path / "t.tflite")
    assert (report.inputs[0].dtype, report.inputs[0].shape) == ("int4", (None, 4))
    assert report.layers[0].weight is not None
    assert report.layers[0].weight.dtype == "float16"
