"""Plain float models of many opsets and exporters: the same numbers from the .tflite."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model, save, small, value, weights
from typer.testing import CliRunner

from exporter.cli import app
from exporter.convert import Wishes, convert, parse_shapes
from exporter.errors import ModelError
from exporter.tflite.reader import read_tflite

RELATIVE = 1e-5


def close(made, tmp_path, wishes=None, relative=RELATIVE):
    """Convert to .tflite; every two forms agree."""
    source = save(made, tmp_path / "in.onnx")
    conversion = convert(source, tmp_path / "out.tflite", wishes or Wishes(samples=2))
    assert len(conversion.differences) == 3, conversion.notes
    assert all(row.max_relative <= relative for row in conversion.differences), conversion
    assert conversion.in_float == ()
    return conversion


def codes(tmp_path):
    return [operator.code for operator in read_tflite(tmp_path / "out.tflite").operators]


def node(kind, inputs, **attributes):
    return helper.make_node(kind, inputs, ["y"], "node", **attributes)


IMAGE = (1, 4, 9, 7)
CASES = {
    "conv same upper": (
        node("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2]),
        {"w": weights(5, 4, 3, 3)},
    ),
    "conv same lower": (
        node("Conv", ["x", "w"], auto_pad="SAME_LOWER", strides=[2, 2]),
        {"w": weights(5, 4, 2, 2)},
    ),
    "max pool same upper": (
        node("MaxPool", ["x"], auto_pad="SAME_UPPER", kernel_shape=[3, 2], strides=[2, 2]),
        {},
    ),
    "average over counted padding": (
        node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 0, 1, 2], count_include_pad=1),
        {},
    ),
    "average over odd padding": (
        node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 1, 0, 1], strides=[2, 2]),
        {},
    ),
    "average that rounds up": (
        node("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        {},
    ),
    "max pool that rounds up": (
        node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        {},
    ),
    "global max": (node("GlobalMaxPool", ["x"]), {}),
    "batch norm": (
        node("BatchNormalization", ["x", "g", "b", "m", "v"]),
        {"g": weights(4), "b": weights(4), "m": weights(4), "v": np.ones(4, np.float32)},
    ),
    "instance norm": (
        node("InstanceNormalization", ["x", "g", "b"], epsilon=1e-3),
        {"g": weights(4), "b": weights(4)},
    ),
    "local response": (node("LRN", ["x"], size=3, alpha=0.2, beta=0.6, bias=1.5), {}),
    "sum of three": (node("Sum", ["x", "x", "w"]), {"w": weights(4, 1, 1)}),
    "max of three": (node("Max", ["x", "w", "v"]), {"w": weights(4, 1, 1), "v": weights(1)}),
    "transposed, blocks": (
        node("ConvTranspose", ["x", "w", "b"], strides=[2, 2]),
        {"w": weights(4, 3, 2, 2), "b": weights(3)},
    ),
    "transposed, overlapping": (
        node("ConvTranspose", ["x", "w", "b"], strides=[2, 2], pads=[1, 1, 1, 1]),
        {"w": weights(4, 3, 4, 4), "b": weights(3)},
    ),
    "transposed, output padding": (
        node("ConvTranspose", ["x", "w"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        {"w": weights(4, 3, 3, 3)},
    ),
    "gather one": (node("Gather", ["x", "i"], axis=2), {"i": np.int64(3)}),
    "gather some": (node("Gather", ["x", "i"], axis=1), {"i": np.array([2, 0, -1])}),
    "matmul of a constant": (node("MatMul", ["x", "w"]), {"w": weights(7, 5)}),
    "gelu": (node("Gelu", ["x"]), {}),
    "hard sigmoid": (node("HardSigmoid", ["x"], alpha=0.3, beta=0.4), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(tmp_path, name):
    operator, constants = CASES[name]
    close(model([operator], [value("x", IMAGE)], [value("y", None)], constants), tmp_path)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(tmp_path, rows, transposed):
    operator = node("Gemm", ["x", "w", "b"], transB=transposed, alpha=0.5, beta=2.0)
    shape = (6, 4) if transposed else (4, 6)
    constants = {"w": weights(*shape), "b": weights(6)}
    close(model([operator], [value("x", [rows, 4])], [value("y", None)], constants), tmp_path)


@pytest.mark.parametrize(
    ("kind", "shapes", "attributes"),
    [
        ("Conv", [(5, 4, 3)], {"pads": [1, 2], "strides": [2]}),
        ("ConvTranspose", [(4, 5, 2)], {"strides": [2]}),
        ("MaxPool", [], {"kernel_shape": [3], "pads": [1, 1]}),
        ("AveragePool", [], {"kernel_shape": [2]}),
        ("GlobalAveragePool", [], {}),
    ],
)
def test_one_axis(tmp_path, kind, shapes, attributes):
    names = [f"w{index}" for index in range(len(shapes))]
    constants = {name: weights(*shape) for name, shape in zip(names, shapes, strict=True)}
    operator = node(kind, ["x", *names], **attributes)
    close(model([operator], [value("x", [1, 4, 12])], [value("y", None)], constants), tmp_path)


def test_group_norm(tmp_path):
    constants = {"g": weights(4), "b": weights(4)}
    operator = node("GroupNormalization", ["x", "g", "b"], num_groups=2, epsilon=1e-3)
    made = model([operator], [value("x", IMAGE)], [value("y", None)], constants, opset=21)
    close(made, tmp_path)


@pytest.mark.parametrize("opset", range(7, 23))
def test_opsets(tmp_path, opset):
    conversion = close(small(opset), tmp_path)
    assert conversion.source.opset == opset
    assert "fix the batch at 1" in {rewrite.what for rewrite in conversion.rewrites}


def test_constants_that_are_no_inputs_in_an_old_file(tmp_path):
    """The format's version 3 wanted constants among the inputs; not every exporter did so."""
    made = small(9)
    made.ir_version = 3
    source = save(made, tmp_path / "in.onnx")
    conversion = convert(source, tmp_path / "out.tflite", Wishes(samples=0))
    assert [entry.name for entry in conversion.inputs] == ["x"]


def test_softmax_over_the_rest_before_opset_13(tmp_path):
    operators = [
        helper.make_node("Flatten", ["x"], ["f"], "flatten"),
        helper.make_node("Softmax", ["f"], ["y"], "softmax", axis=1),
    ]
    made = model(operators, [value("x", IMAGE)], [value("y", None)], opset=11)
    close(made, tmp_path)


def test_upsample_of_opset_9(tmp_path):
    operator = node("Upsample", ["x", "s"], mode="nearest")
    constants = {"s": np.array([1, 1, 2, 2], np.float32)}
    close(model([operator], [value("x", IMAGE)], [value("y", None)], constants, 9), tmp_path)


def erf_gelu(order):
    """x * (1 + erf(x / sqrt 2)) / 2 in the orders that exporters write."""
    make = helper.make_node
    first = [
        make("Div", ["x", "root"], ["s"], "div"),
        make("Erf", ["s"], ["e"], "erf"),
        make("Add", ["e", "one"], ["a"], "add"),
    ]
    rest = {
        "product first": [make("Mul", ["x", "a"], ["p"], "m"), make("Mul", ["p", "half"], ["y"])],
        "half first": [make("Mul", ["half", "a"], ["p"], "m"), make("Mul", ["p", "x"], ["y"])],
        "half of x": [make("Mul", ["x", "half"], ["p"], "m"), make("Mul", ["p", "a"], ["y"])],
    }[order]
    constants = {
        "root": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    return model([*first, *rest], [value("x", [1, 6])], [value("y", None)], constants, 17)


@pytest.mark.parametrize("order", ["product first", "half first", "half of x"])
def test_gelu_in_elementary_operators(tmp_path, order):
    close(erf_gelu(order), tmp_path)
    assert codes(tmp_path) == ["GELU"]


def test_erf_that_is_no_gelu_stays_what_it_is(tmp_path):
    made = erf_gelu("half first")
    made.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32(2), "one"))
    close(made, tmp_path)
    assert {"SUB", "DIV"} <= set(codes(tmp_path))  # erf out of TFLite's float operators


def test_shape_arithmetic_is_folded(tmp_path):
    """View of x by its own sizes, as torch's older exporter writes flatten."""
    make = helper.make_node
    operators = [
        make("Shape", ["x"], ["s"], "shape"),
        make("Gather", ["s", "zero"], ["n"], "batch", axis=0),
        make("Unsqueeze", ["n", "axis"], ["u"], "unsqueeze"),
        make("Concat", ["u", "rest"], ["t"], "target", axis=0),
        make("Reshape", ["x", "t"], ["y"], "reshape"),
    ]
    constants = {
        "zero": np.int64(0),
        "axis": np.array([0]),
        "rest": np.array([-1]),
    }
    made = model(operators, [value("x", ["N", 4, 6])], [value("y", None)], constants, 13)
    close(made, tmp_path)
    assert codes(tmp_path) == ["RESHAPE"]


def test_constant_nodes(tmp_path):
    operators = [
        helper.make_node("Constant", [], ["w"], "w", value=numpy_helper.from_array(weights(4))),
        helper.make_node("Constant", [], ["c"], "c", value_float=2.0),
        helper.make_node("Mul", ["w", "c"], ["v"], "twice"),
        helper.make_node("Add", ["x", "v"], ["y"], "add"),
    ]
    close(model(operators, [value("x", [1, 4])], [value("y", [1, 4])]), tmp_path)
    assert codes(tmp_path) == ["ADD"]


def in_precision(made, dtype):
    """The same model with constants, inputs and outputs of another float type."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(kind)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for entry in (*made.graph.input, *made.graph.output):
        entry.type.tensor_type.elem_type = dtype
    return made


def test_half_precision(tmp_path):
    conversion = close(in_precision(small(), TensorProto.FLOAT16), tmp_path, relative=3e-3)
    assert conversion.inputs[0].dtype == "float32"
    assert conversion.requantized == ()


def test_constants_beside_which_another_type_stands(tmp_path):
    """As onnxruntime.transformers' float16 leaves what a Resize reads: its scales stay float32."""
    nodes = [
        helper.make_node("Resize", ["x", "", "s"], ["c"], "resize", mode="nearest"),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    constants = {"s": np.float32([1, 1, 2, 2])}
    made = model(nodes, [value("x", [1, 3, 8, 8])], [value("y", None)], constants)
    made = in_precision(made, TensorProto.FLOAT16)
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(constants["s"], "s"))
    made.graph.value_info.append(value("s", [4], TensorProto.FLOAT16))
    close(made, tmp_path, relative=3e-3)


def test_double_precision_is_rounded_and_told(tmp_path):
    """ONNX Runtime has no double Conv, so the source itself cannot be compared with."""
    source = save(in_precision(small(), TensorProto.DOUBLE), tmp_path / "in.onnx")
    conversion = convert(source, tmp_path / "out.tflite")
    assert {entry.node for entry in conversion.requantized} == {"w", "b", "v", "d"}
    assert "the source in ONNX Runtime did not run" in conversion.notes[0]
    assert conversion.differences[0].max_relative < RELATIVE


def test_channels_last(tmp_path):
    """NHWC in and out: no TRANSPOSE is left."""
    operators = [
        helper.make_node("Transpose", ["x"], ["t"], "in", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], "conv"),
        helper.make_node("Transpose", ["c"], ["y"], "out", perm=[0, 2, 3, 1]),
    ]
    constants = {"w": weights(5, 3, 3, 3)}
    close(model(operators, [value("x", [1, 8, 6, 3])], [value("y", None)], constants), tmp_path)
    assert "TRANSPOSE" not in codes(tmp_path)


def test_shapes_are_given(tmp_path):
    made = small(batch="N")
    conversion = close(made, tmp_path, Wishes(shapes={"x": (2, 3, 8, 8)}, samples=2))
    assert conversion.inputs[0].shape == (2, 3, 8, 8)
    assert "fix the batch at 1" not in {rewrite.what for rewrite in conversion.rewrites}


def test_two_inputs_that_share_an_open_axis(tmp_path):
    operators = [helper.make_node("Add", ["x", "z"], ["y"], "add")]
    inputs = [value("x", [1, "L"]), value("z", [1, "L"])]
    made = model(operators, inputs, [value("y", [1, "L"])])
    conversion = close(made, tmp_path, Wishes(shapes={"z": (1, 7)}, samples=2))
    assert [entry.shape for entry in conversion.inputs] == [(1, 7), (1, 7)]


def test_onnx_without_a_tflite_form(tmp_path):
    made = model(
        [node("CumSum", ["x", "axis"])],
        [value("x", [1, 4])],
        [value("y", [1, 4])],
        {"axis": np.int64(1)},
    )
    conversion = convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.onnx")
    assert [row.differing for row in conversion.differences] == [0]
    assert "no .tflite form: CumSum" in conversion.notes[0]


@pytest.mark.parametrize(
    ("texts", "shapes"),
    [
        ([], {}),
        (["1x3x8x8"], {"": (1, 3, 8, 8)}),
        (["a=1x2", "b:0=3"], {"a": (1, 2), "b:0": (3,)}),
        (["odd=name=1x2"], {"odd=name": (1, 2)}),
    ],
)
def test_shapes_on_the_command_line(texts, shapes):
    assert parse_shapes(texts) == shapes


@pytest.mark.parametrize("texts", [["1x3xH"], ["a="], ["a=0x3"], ["a=-1x3"], ["a=1", "a=2"], [""]])
def test_wrong_shapes_on_the_command_line(texts):
    with pytest.raises(ModelError, match="gives no shape"):
        parse_shapes(texts)


def test_command(tmp_path):
    source = save(small(), tmp_path / "in.onnx")
    target = tmp_path / "out.tflite"
    arguments = ["convert", str(source), "-o", str(target), "--input", "1x3x8x8"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "float, not quantized" in result.stdout
    assert f"wrote    {target}: {target.stat().st_size} bytes" in result.stdout
    assert "the source in ONNX Runtime / the .tflite in LiteRT, XNNPACK" in result.stdout


def test_command_as_json(tmp_path):
    source = save(small(), tmp_path / "in.onnx")
    target = tmp_path / "out.tflite"
    result = CliRunner().invoke(app, ["convert", str(source), "-o", str(target), "--json"])
    document = json.loads(result.stdout)
    assert document["source"]["operators"]["Conv"] == 1
    assert document["bytes"] == target.stat().st_size
    assert len(document["differences"]) == 3
