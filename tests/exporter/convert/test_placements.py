"""Where other quantizers put their operators: the same integers come out of the converted forms."""

from __future__ import annotations

import numpy as np
import pytest
from conversions import BOTH, X, agree, convolution, left_in_float, run
from onnx import TensorProto, helper
from onnx_models import Qdq, products_saturate, random_integers, save, value, weights

from exporter.convert import IN_ONNX, IN_SOURCE, IN_TFLITE, Wishes, convert
from exporter.errors import CanonicalError, EdgewrightError, ModelError, UnsupportedError


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_float_bias_and_types(tmp_path, dtype, kind):
    graph = Qdq(dtype)
    middle = 0 if dtype == np.int8 else 128
    x = graph.quantize("x", 0.02, middle)
    y = convolution(graph, x, kind=kind)
    graph.quantize(y, 0.03, middle, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == set()


def test_quantized_before_the_activation(tmp_path):
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, -3)
    graph.quantize(graph.node("Relu", [c], "relu"), 0.015, -128, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == set()


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (0.0, 1.27), (-1.0, 1.0), (-0.5, 0.713)])
def test_clip_in_between(tmp_path, low, high):
    graph = Qdq()
    c = convolution(graph, graph.quantize("x", 0.02))
    limits = [graph.constant("low", np.float32(low)), graph.constant("high", np.float32(high))]
    clipped = graph.node("Clip", [c, *limits], "clip")
    graph.quantize(clipped, 0.01, -3, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)  # ONNX Runtime computes the source's convolution in float
    assert left_in_float(conversion) == set()


def test_quantizers_before_operators_only(tmp_path):
    """As NNCF places them: convolution, pooling and reshape, and only then a quantizer."""
    graph = Qdq()
    c = convolution(graph, graph.quantize("x", 0.02))
    p = graph.node(
        "MaxPool", [graph.node("Relu", [c], "relu")], "pool", kernel_shape=[2, 2], strides=[2, 2]
    )
    f = graph.node("Reshape", [p, graph.constant("shape", np.array([1, -1], np.int64))], "flat")
    q = graph.quantize(f, 0.02, -128, dtype=np.int8)
    w = graph.integers("v", random_integers(5, 64), 0.004)
    y = graph.node("Gemm", [q, w], "gemm", transB=1)
    graph.quantize(y, 0.05, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert left_in_float(conversion) == set()


def test_no_quantizer_behind_a_reshape(tmp_path):
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    f = graph.node("Flatten", [c], "flat")
    w = graph.integers("v", random_integers(256, 5), 0.004)
    graph.quantize(graph.node("MatMul", [f, w], "matmul"), 0.2, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert left_in_float(conversion) == set()


def test_mixed_signs_and_duplicated_quantizers(tmp_path):
    """One value, quantized once for each reader; activations uint8 here and int8 there."""
    graph = Qdq()
    c = convolution(graph, graph.quantize("x", 0.02))
    relu = graph.node("Relu", [c], "relu")
    first = graph.quantize(relu, 0.02, 0, dtype=np.uint8, name="first")
    second = graph.quantize(relu, 0.02, -128, dtype=np.int8, name="second")
    left = graph.quantize(convolution(graph, first, "left", 4), 0.03)
    right = graph.quantize(convolution(graph, second, "right", 4), 0.03)
    graph.quantize(graph.node("Add", [left, right], "add"), 0.05, 3, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == set()


def test_two_scales_for_one_value(tmp_path):
    """A value that is quantized in two ways stays real, and says so: no rounding is put on top."""
    graph = Qdq()
    c = convolution(graph, graph.quantize("x", 0.02))
    left = graph.quantize(c, 0.02, 5, name="left")
    right = graph.quantize(c, 0.0371, -9, name="right")
    graph.quantize(graph.node("Add", [left, right], "add"), 0.05, 3, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == {"conv"}


def test_quantized_and_read_in_float(tmp_path):
    graph = Qdq()
    c = convolution(graph, graph.quantize("x", 0.02))
    q = graph.quantize(c, 0.02, 5)
    graph.node("Add", [q, c], "y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == {"conv", "y"}


def test_last_layer_in_float(tmp_path):
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    f = graph.node("Flatten", [c], "flat")
    graph.node("Gemm", [f, graph.integers("v", random_integers(5, 256), 0.004)], "y", transB=1)
    outputs = [value("y", None)]
    conversion = run(graph, tmp_path, outputs)
    assert left_in_float(conversion) == {"y"}
    assert conversion.in_float[0].reason == "its result is not quantized"
    agree(conversion)
    with pytest.raises(UnsupportedError, match="computes in float") as caught:
        run(graph, tmp_path, outputs, wishes=Wishes(integer_only=True), target="no.tflite")
    assert "Gemm 'y'" in str(caught.value)
    assert not (tmp_path / "no.tflite").exists()


def test_float_layer_in_the_middle(tmp_path):
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    middle = graph.node("Conv", [c, graph.constant("w", weights(4, 4, 1, 1))], "middle")
    q = graph.quantize(middle, 0.02)
    graph.quantize(convolution(graph, q, "last", 4), 0.03, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    assert left_in_float(conversion) == {"middle"}
    assert conversion.in_float[0].reason == "its weights are not quantized"
    # ONNX Runtime quantizes such weights by itself, in its own way and to the full range.
    agree(conversion, 12 if products_saturate() else 3)


def test_concat_of_other_scales(tmp_path):
    graph = Qdq()
    x = graph.quantize("x", 0.02)
    left = graph.quantize(convolution(graph, x, "left"), 0.03)
    right = graph.quantize(convolution(graph, x, "right"), 0.021, 7)
    joined = graph.node("Concat", [left, right], "concat", axis=1)
    graph.quantize(joined, 0.029, 2, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert sum(row.differing for row in conversion.differences) < 10
    assert left_in_float(conversion) == set()


@pytest.mark.parametrize("read", ["a quantized value", "a computed value", "integers"])
def test_concat_of_a_value_with_itself(tmp_path, read):
    graph = Qdq()
    x = graph.quantize("x", 0.02, name="q")
    if read == "integers":
        graph.node("Concat", ["q_i", "q_i"], "joined", axis=1)
        graph.node("DequantizeLinear", ["joined", "q_scale", "q_point"], "y")
    else:
        c = convolution(graph, x)
        part = graph.quantize(c, 0.03) if read == "a quantized value" else c
        graph.quantize(graph.node("Concat", [part, part], "joined", axis=1), 0.029, 2, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == set()


@pytest.mark.parametrize(("scale", "point"), [(1 / 256, -128), (1 / 255, -128), (0.01, 3)])
@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "Softmax"])
def test_bounded_functions_of_any_scale(tmp_path, kind, scale, point):
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    attributes = {"axis": 1} if kind == "Softmax" else {}
    graph.quantize(graph.node(kind, [c], "f", **attributes), scale, point, name="y")
    agree(run(graph, tmp_path, [value("y", None)]), 1)


def test_weights_stored_in_float(tmp_path):
    """As NNCF and torch leave them: float constant → QuantizeLinear → DequantizeLinear."""
    graph = Qdq()
    graph.constant("w", weights(4, 3, 3, 3))
    w = graph.quantize("w", np.linspace(0.008, 0.01, 4), np.zeros(4), axis=0)
    c = graph.node("Conv", [graph.quantize("x", 0.02), w], "conv", pads=[1, 1, 1, 1])
    graph.quantize(c, 0.03, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert left_in_float(conversion) == set()


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", ["Pad", "Clip", "MaxPool"])
def test_operators_on_integers(tmp_path, kind, given):
    """As in QOperator models: integers go in and come out, with integer limits and padding."""
    graph = Qdq(np.uint8)
    graph.quantize("x", 0.02, 120, name="q")
    inputs, attributes = ["q_i"], {}
    if kind == "Pad":
        inputs.append(graph.constant("pads", np.array([0, 0, 1, 1, 0, 0, 2, 1])))
        inputs += [graph.constant("value", np.uint8(130))] if given else []
    elif kind == "Clip":
        inputs.append(graph.constant("low", np.uint8(100)))
        inputs += [graph.constant("high", np.uint8(140))] if given else []
    else:
        attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    chosen = graph.node(kind, inputs, "chosen", **attributes)
    graph.node("DequantizeLinear", [chosen, "q_scale", "q_point"], "y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert conversion.in_float == ()


def test_weights_quantized_twice(tmp_path):
    graph = Qdq()
    once = graph.integers("w", random_integers(4, 3, 3, 3), 0.005)
    w = graph.quantize(once, 0.0061)
    c = graph.node("Conv", [graph.quantize("x", 0.02), w], "conv")
    graph.quantize(c, 0.03, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert left_in_float(conversion) == set()


def test_transposed_weights(tmp_path):
    graph = Qdq()
    f = graph.node("Flatten", [graph.quantize("x", 0.02)], "flat")
    w = graph.integers("v", random_integers(5, 192), np.linspace(0.002, 0.004, 5), axis=0)
    t = graph.node("Transpose", [w], "turned", perm=[1, 0])
    graph.quantize(graph.node("MatMul", [f, t], "matmul"), 0.05, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert left_in_float(conversion) == set()


@pytest.mark.parametrize("axis", [0, 1])
def test_gemm_with_the_weight_by_column(tmp_path, axis):
    graph = Qdq()
    f = graph.node("Flatten", [graph.quantize("x", 0.02)], "flat")
    integers = random_integers(192, 5) if axis else random_integers(5, 192)
    w = graph.integers("v", integers, np.linspace(0.002, 0.004, 5), axis=axis)
    inputs = [f, w, graph.constant("b", weights(5))]
    graph.quantize(graph.node("Gemm", inputs, "gemm", transB=1 - axis), 0.05, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion, 1)
    assert left_in_float(conversion) == set()


def test_camera_frames(tmp_path):
    """uint8 [N, H, W, C] → DequantizeLinear → Transpose, as TensorFlow's models come."""
    graph = Qdq()
    scale = graph.constant("s", np.float32(0.02))
    point = graph.constant("z", np.uint8(128))
    real = graph.node("DequantizeLinear", ["x", scale, point], "real")
    turned = graph.node("Transpose", [real], "turned", perm=[0, 3, 1, 2])
    graph.quantize(convolution(graph, turned), 0.03, name="y")
    frames = [value("x", [1, 8, 8, 3], TensorProto.UINT8)]
    conversion = run(graph, tmp_path, [value("y", None)], inputs=frames)
    agree(conversion, 1)
    assert conversion.inputs[0].dtype == "uint8"
    assert left_in_float(conversion) == set()


def test_float_images_of_channels_last(tmp_path):
    graph = Qdq()
    x = graph.quantize("x", 0.02)
    turned = graph.node("Transpose", [x], "turned", perm=[0, 3, 1, 2])
    c = graph.quantize(convolution(graph, turned), 0.03)
    graph.node("Transpose", [c], "y", perm=[0, 2, 3, 1])
    conversion = run(graph, tmp_path, [value("y", None)], inputs=[value("x", [1, 8, 8, 3])])
    agree(conversion, 1)
    from exporter.tflite.reader import read_tflite

    codes = [operator.code for operator in read_tflite(tmp_path / "out.tflite").operators]
    assert "TRANSPOSE" not in codes


def test_integer_outputs(tmp_path):
    graph = Qdq(np.uint8)
    c = convolution(graph, graph.quantize("x", 0.02, 128))
    graph.quantize(c, 0.03, 120, name="last")
    outputs = [value("last_i", None, TensorProto.UINT8)]
    conversion = run(graph, tmp_path, outputs)
    agree(conversion, 1)
    assert conversion.outputs[0].dtype == "uint8"


@pytest.mark.parametrize("kind", ["Celu", "Erf", "Mish", "Selu", "Softplus", "Softsign"])
def test_functions_that_become_tables(tmp_path, kind):
    graph = Qdq()
    x = graph.quantize("x", 0.02)
    graph.quantize(graph.node(kind, [x], "f"), 0.017, -7, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    agree(conversion)
    assert conversion.in_float == ()


@pytest.mark.parametrize("kind", ["PRelu", "Clip", "Pow", "LayerNormalization"])
def test_parameters_in_integers(tmp_path, kind):
    """A slope, limit, exponent or scale behind a DequantizeLinear counts as its real number."""
    graph = Qdq()
    x = graph.quantize("x", 0.02, 5)
    shapes = {"PRelu": (3, 1, 1), "LayerNormalization": (8,), "Clip": (), "Pow": ()}
    given = np.full(shapes[kind], -20 if kind == "Clip" else 40, np.int8)
    parameter = graph.integers("p", given, 0.05)
    graph.quantize(graph.node(kind, [x, parameter], "f"), 0.03, 4, name="y")
    inputs = [value("x", [1, 3, 8])] if kind == "LayerNormalization" else None
    agree(run(graph, tmp_path, [value("y", None)], inputs=inputs), 1)


@pytest.mark.parametrize("requantize", [False, True])
@pytest.mark.parametrize("activation", [False, True])
def test_batch_norm_between_quantizers(tmp_path, activation, requantize):
    """ONNX Runtime's quantizer leaves it there, with a scale in integers."""
    graph = Qdq()
    c = graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03)
    gamma = graph.integers("gamma", random_integers(4), 0.01)
    others = [
        graph.constant(name, values)
        for name, values in (
            ("beta", weights(4)),
            ("mean", weights(4, seed=5)),
            ("variance", np.linspace(0.5, 2, 4).astype(np.float32)),
        )
    ]
    norm = graph.node("BatchNormalization", [c, gamma, *others], "norm")
    if activation:
        norm = graph.node("Relu", [norm], "relu")
    graph.quantize(norm, 0.03, name="y")
    conversion = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=requantize))
    agree(conversion, 1)
    in_float = {entry.operator for entry in conversion.in_float}
    assert in_float - {"Relu"} == (set() if requantize else {"Mul", "Add"})
    if requantize:
        ours = next(row for row in conversion.differences if {row.one, row.other} == BOTH)
        assert ours.differing == 0


def test_output_that_is_read_inside_as_well(tmp_path):
    graph = Qdq()
    middle = convolution(graph, graph.quantize("x", 0.02))
    middle = graph.quantize(middle, 0.03, name="middle")
    graph.quantize(convolution(graph, middle, "last", 4), 0.03, name="y")
    conversion = run(graph, tmp_path, [value("middle", None), value("y", None)])
    agree(conversion, 1)
    assert [entry.name for entry in conversion.outputs] == ["middle", "y"]
    assert left_in_float(conversion) == set()


def test_weights_of_minus_128(tmp_path):
    graph = Qdq()
    integers = random_integers(4, 3, 3, 3)
    integers[[1, 3]] = 0  # -128 beside another weight could saturate
    integers[1, 2, 0, 0] = integers[3, 0, 0, 0] = -128
    w = graph.integers("w", integers, 0.003)
    c = graph.node("Conv", [graph.quantize("x", 0.02), w], "conv")
    graph.quantize(c, 0.03, name="y")
    with pytest.raises(UnsupportedError, match="2 of its weights are -128"):
        run(graph, tmp_path, [value("y", None)])
    conversion = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=True))
    assert [entry.node for entry in conversion.requantized] == ["conv"]
    assert "2 of 108 weights move by one step" in conversion.requantized[0].detail
    agree(conversion, 1)


def test_activations_of_many_scales(tmp_path):
    graph = Qdq()
    c = convolution(graph, graph.quantize("x", 0.02))
    graph.quantize(c, np.linspace(0.02, 0.04, 4), np.zeros(4), axis=1, name="y")
    with pytest.raises(UnsupportedError, match="each of 4 channels of an activation"):
        run(graph, tmp_path, [value("y", None)])
    conversion = run(graph, tmp_path, [value("y", None)], wishes=Wishes(requantize=True))
    assert "0.02 to 0.04 before" in conversion.requantized[0].detail


def test_scale_that_is_computed(tmp_path):
    graph = Qdq()
    scale = graph.node("ReduceMax", ["x"], "largest", keepdims=0)
    point = graph.constant("z", np.int8(0))
    q = graph.node("QuantizeLinear", ["x", scale, point], "q")
    graph.node("DequantizeLinear", [q, scale, point], "y")
    with pytest.raises(UnsupportedError, match="scale is computed while the model runs"):
        run(graph, tmp_path, [value("y", None)])


@pytest.mark.parametrize("scale", [0.0, -0.1, np.inf, np.nan])
def test_scales_that_are_none(tmp_path, scale):
    graph = Qdq()
    graph.quantize("x", scale, name="y")
    with pytest.raises(UnsupportedError, match="not positive and finite"):
        run(graph, tmp_path, [value("y", None)])


def test_read_with_another_scale_than_written(tmp_path):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="c")
    scale = graph.constant("other", np.float32(0.05))
    graph.node("DequantizeLinear", ["c_i", scale, "c_point"], "y")
    graph.nodes = [node for node in graph.nodes if node.output[0] != "c"]
    with pytest.raises(CanonicalError, match="another scale than it was written with"):
        run(graph, tmp_path, [value("y", None)])


def test_given_inputs(tmp_path):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    np.savez(tmp_path / "given.npz", x=weights(3, *X[1:], scale=1.0))
    wishes = Wishes(inputs=tmp_path / "given.npz")
    conversion = run(graph, tmp_path, [value("y", None)], wishes=wishes)
    assert conversion.samples == 3
    assert conversion.differences[0].values == 3 * 4 * 8 * 8


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.zeros(X, np.float32)}, "no array for input 'x'"),
        ({"x": np.zeros((1, 3, 9, 8), np.float32)}, "does not fit"),
        ({"x": np.zeros(X, np.uint8)}, r"float32\n(.|\n)*uint8\n(.|\n)*float32\) / 255"),
        ({"x": np.zeros(X, bool)}, "another type"),
    ],
)
def test_given_inputs_that_do_not_fit(tmp_path, arrays, words):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    np.savez(tmp_path / "given.npz", **arrays)
    with pytest.raises(ModelError, match=words):
        run(graph, tmp_path, [value("y", None)], wishes=Wishes(inputs=tmp_path / "given.npz"))


def test_given_inputs_of_a_wider_float_type_are_taken(tmp_path):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    np.savez(tmp_path / "given.npz", x=weights(3, *X[1:], scale=1.0).astype(np.float64))
    wishes = Wishes(inputs=tmp_path / "given.npz")
    assert run(graph, tmp_path, [value("y", None)], wishes=wishes).samples == 3


@pytest.mark.parametrize(("kind", "fits"), [(np.uint8, True), (np.int8, False), (np.int64, False)])
def test_given_integers_are_of_the_inputs_own_type(tmp_path, kind, fits):
    graph = Qdq()
    scale, point = graph.constant("s", np.float32(0.02)), graph.constant("p", np.uint8(128))
    real = graph.node("DequantizeLinear", ["frames", scale, point], "x")
    graph.quantize(convolution(graph, graph.quantize(real, 0.02)), 0.03, name="y")
    frames = [value("frames", X, TensorProto.UINT8)]
    np.savez(tmp_path / "given.npz", frames=np.ones((2, *X[1:]), kind))
    wishes = Wishes(inputs=tmp_path / "given.npz")
    if fits:
        assert run(graph, tmp_path, [value("y", None)], frames, wishes).samples == 2
        return
    with pytest.raises(ModelError, match=r"uint8(.|\n)*astype\(numpy\.uint8\)"):
        run(graph, tmp_path, [value("y", None)], frames, wishes)


def test_missing_files_are_named(tmp_path):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    with pytest.raises(EdgewrightError, match=r"absent\.npz is missing(.|\n)*to do:") as caught:
        run(graph, tmp_path, [value("y", None)], wishes=Wishes(inputs=tmp_path / "absent.npz"))
    assert "Errno" not in str(caught.value)
    with pytest.raises(ModelError, match=r"absent\.onnx is missing(.|\n)*to do:") as caught:
        convert(tmp_path / "absent.onnx", tmp_path / "out.tflite")
    assert "Errno" not in str(caught.value)


def test_node_names_of_a_nameless_model(tmp_path):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    for node in graph.nodes:
        node.name = ""
    agree(run(graph, tmp_path, [value("y", None)]), 1)


def test_a_refusal_names_a_nameless_node_by_its_result(tmp_path):
    graph = Qdq()
    w = graph.integers("w", random_integers(4, 3, 3, 3, dtype=np.uint8, low=0), 0.003, 7)
    c = graph.node("Conv", [graph.quantize("x", 0.02), w], "c", pads=[1, 1, 1, 1])
    graph.quantize(c, 0.03, name="y")
    for node in graph.nodes:
        node.name = ""
    with pytest.raises(UnsupportedError, match="Conv 'c/Conv'"):
        run(graph, tmp_path, [value("y", None)])


@pytest.mark.parametrize("opset", [13, 19, 21, 22])
def test_opsets_of_qdq(tmp_path, opset):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    agree(run(graph, tmp_path, [value("y", None)], opset=opset), 1)


def test_domain_of_contributed_operators_without_a_form(tmp_path):
    graph = Qdq()
    graph.quantize("x", 0.02, name="q")
    graph.nodes.append(
        helper.make_node("BiasGelu", ["q", "b"], ["y"], "gelu", domain="com.microsoft")
    )
    graph.constant("b", weights(8))
    made = graph.model([value("x", X)], [value("y", X)], contributed=True)
    with pytest.raises(UnsupportedError, match="BiasGelu 'gelu'"):
        convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.tflite")


def test_source_and_onnx_agree_in_every_label(tmp_path):
    graph = Qdq()
    graph.quantize(convolution(graph, graph.quantize("x", 0.02)), 0.03, name="y")
    conversion = run(graph, tmp_path, [value("y", None)])
    labels = {label for row in conversion.differences for label in (row.one, row.other)}
    assert labels == {IN_SOURCE, IN_ONNX, IN_TFLITE}
