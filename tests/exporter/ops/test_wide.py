"""exporter/tflite/wide.py: operators with int16 activations, against real numbers rounded once.

Bounds are in steps of int16, and hold for both runtimes: LiteRT's builtin kernels compute in fixed
point, ONNX Runtime in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import single
from single import Body, Case, Value

from exporter.errors import CanonicalError
from exporter.graph.islands import WIDE_ISLANDS
from exporter.tflite import lower, wide
from exporter.verify.wide import bound_of

SEEDS = range(3)
LARGEST = 32767
FIXED = {"Sigmoid", "Softmax", "Tanh", "HardSigmoid"}
IMAGE = (1, 4, 6, 6)
ROWS = (1, 12)
SPREAD = 4.0
"""The largest real number of an operand."""


def value(shape: tuple[int, ...], largest: float = SPREAD) -> Value:
    return Value(shape, float(np.float32(largest / LARGEST)), 0, np.int16)


def case_of(body: Body, sources: Sequence[Value], kind: str, seed: int) -> tuple[Case, list[Any]]:
    """The case whose result's scale covers what it gives for a sample, and that sample."""
    given = [source.sample(seed + 10 * i) for i, source in enumerate(sources)]
    real = [s.real(x).astype(np.float32) for s, x in zip(sources, given, strict=True)]
    twin = Case.of(body, sources, *[None] * (2 if kind == "TopK" else 1))
    found = single.run_onnx(twin.model(quantized=False), real)[0]
    if found.dtype != np.float32:
        return Case.of(body, sources, None), given
    scale = 1 / 32768 if kind in FIXED else float(np.abs(found).max()) / LARGEST
    if kind in SHARING:
        scale = sources[0].scale
    result = Value(found.shape, float(np.float32(scale)), 0, np.int16)
    return Case.of(body, sources, result, *[None] * (kind == "TopK")), given


def weighted(kind: str, shape: tuple[int, ...], source: Value, **attributes: Any) -> Body:
    """A layer with int8 weights, a scale for each channel, and an int32 bias."""
    random = np.random.default_rng(3)
    weight = random.integers(-127, 128, shape).astype(np.int8)
    scale = np.float32(random.uniform(0.002, 0.01, shape[0]))
    bias = random.integers(-(2**20), 2**20, shape[0]).astype(np.int32)
    step = np.float32(np.float64(np.float32(source.scale)) * np.float64(scale))
    activation = attributes.pop("activation", "")

    def body(net: single.Net, x: str) -> str:
        given = [x, net.quantized_constant(weight, scale), net.quantized_constant(bias, step)]
        y = net.node(kind, given, **attributes)
        if activation == "Clip":
            return str(net.node("Clip", [y, net.constant(0.0), net.constant(6.0)]))
        return str(net.node(activation, [y]) if activation else y)

    return body


def with_integers(kind: str, *lists: Any, outputs: int = 1, **attributes: Any) -> Body:
    """A body whose constants are positions and sizes."""

    def body(net: single.Net, *names: str) -> Any:
        given = [net.integers(data) if data is not None else "" for data in lists]
        found = net.node(kind, [*names, *given], outputs=outputs, **attributes)
        return tuple(found) if outputs > 1 else found

    return body


def scaled_constant(kind: str) -> Body:
    """Arithmetic with a constant that has a scale."""
    data = np.arange(-2, 2).reshape(1, 4, 1, 1).astype(np.int16) * 9000

    def body(net: single.Net, x: str) -> str:
        return str(net.node(kind, [x, net.quantized_constant(data, 2.0 / LARGEST)]))

    return body


def resized(mode: str, centres: str, nearest: str = "floor") -> Body:
    def body(net: single.Net, x: str) -> str:
        scales = net.constant([1, 1, 2, 2])
        options = {"mode": mode, "coordinate_transformation_mode": centres}
        options |= {"nearest_mode": nearest} if mode == "nearest" else {}
        return str(net.node("Resize", [x, "", scales], **options))

    return body


def padded(mode: str) -> Body:
    def body(net: single.Net, x: str) -> str:
        given = [x, net.integers([0, 0, 1, 2, 0, 0, 1, 1])]
        return str(net.node("Pad", given, mode=mode))

    return body


def positive(kind: str, source: Value) -> Body:
    """A function whose last operand is kept between an eighth of the largest value and that."""

    def body(net: single.Net, *names: str) -> str:
        limits = [net.constant(source.scale * LARGEST * share) for share in (0.125, 1.0)]
        kept = net.requantize(str(net.node("Clip", [names[-1], *limits])), source)
        return str(net.node(kind, [*names[:-1], kept]))

    return body


def clipped(net: single.Net, x: str) -> str:
    return str(net.node("Clip", [x, net.constant(-1.5), net.constant(2.5)]))


SHARING = {
    "Clip",
    "Concat",
    "DepthToSpace",
    "Flatten",
    "Max",
    "MaxPool",
    "Min",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Relu6",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "TopK",
    "Transpose",
    "nearest",
    "Gather",
}
one, two, rows = [value(IMAGE)], [value(IMAGE), value(IMAGE)], [value(ROWS)]
uneven = [value(IMAGE), value(IMAGE, 0.37)]
function = single.function

CASES: dict[str, tuple[str, Body, Sequence[Value]]] = {
    "conv": ("Conv", weighted("Conv", (5, 4, 3, 3), one[0], pads=[1, 1, 1, 1]), one),
    "conv, padded unevenly": (
        "Conv",
        weighted("Conv", (5, 4, 3, 3), one[0], pads=[1, 0, 1, 1], strides=[2, 2]),
        one,
    ),
    "conv and ReLU": (
        "Conv",
        weighted("Conv", (5, 4, 3, 3), one[0], pads=[1, 1, 1, 1], activation="Relu"),
        one,
    ),
    "conv and ReLU6": (
        "Conv",
        weighted("Conv", (5, 4, 1, 1), one[0], activation="Clip"),
        one,
    ),
    "depthwise": ("Conv", weighted("Conv", (4, 1, 3, 3), one[0], group=4), one),
    "grouped": ("Conv", weighted("Conv", (6, 2, 3, 3), one[0], group=2), one),
    "dense": ("Gemm", weighted("Gemm", (5, 12), rows[0], transB=1), rows),
    "add": ("Add", function("Add"), two),
    "add of two scales": ("Add", function("Add"), uneven),
    "add a constant": ("Add", scaled_constant("Add"), one),
    "sub": ("Sub", function("Sub"), uneven),
    "mul": ("Mul", function("Mul"), uneven),
    "mul a constant": ("Mul", scaled_constant("Mul"), one),
    "max": ("Max", function("Max"), two),
    "min": ("Min", function("Min"), two),
    "sigmoid": ("Sigmoid", function("Sigmoid"), one),
    "tanh": ("Tanh", function("Tanh"), one),
    "relu": ("Relu", function("Relu"), one),
    "clip": ("Clip", clipped, one),
    "elu": ("Elu", function("Elu"), one),
    "gelu": ("Gelu", function("Gelu"), one),
    "leaky relu": ("LeakyRelu", function("LeakyRelu", alpha=0.1), one),
    "prelu": ("PRelu", function("PRelu", np.float32([[[0.1]], [[0.2]], [[0.3]], [[0.4]]])), one),
    "hard swish": ("HardSwish", function("HardSwish"), one),
    "hard sigmoid": ("HardSigmoid", function("HardSigmoid"), one),
    "abs": ("Abs", function("Abs"), one),
    "neg": ("Neg", function("Neg"), one),
    "exp": ("Exp", function("Exp"), one),
    "sqrt": ("Sqrt", positive("Sqrt", one[0]), one),
    "div": ("Div", positive("Div", one[0]), two),
    "mish": ("Mish", function("Mish"), one),
    "square": ("Pow", function("Pow", np.float32(2.0)), one),
    "softmax": ("Softmax", function("Softmax", axis=-1), rows),
    "softmax, steep": ("Softmax", function("Softmax", axis=-1), [value(ROWS, 30.0)]),
    "softmax, flat": ("Softmax", function("Softmax", axis=-1), [value(ROWS, 0.1)]),
    "softmax of channels": ("Softmax", function("Softmax", axis=1), one),
    "concat": ("Concat", function("Concat", axis=1), two),
    "max pool": (
        "MaxPool",
        function("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        one,
    ),
    "average pool": (
        "AveragePool",
        function("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
        one,
    ),
    "global average": ("GlobalAveragePool", function("GlobalAveragePool"), one),
    "mean": ("ReduceMean", with_integers("ReduceMean", [2, 3], keepdims=0), one),
    "sum": ("ReduceSum", with_integers("ReduceSum", [2, 3], keepdims=1), one),
    "largest": ("ReduceMax", with_integers("ReduceMax", [2, 3], keepdims=1), one),
    "smallest": ("ReduceMin", with_integers("ReduceMin", [2, 3], keepdims=1), one),
    "reshape": ("Reshape", with_integers("Reshape", [-1, 2, 72]), one),
    "flatten": ("Flatten", function("Flatten"), one),
    "transpose": ("Transpose", function("Transpose", perm=[0, 2, 3, 1]), one),
    "slice": ("Slice", with_integers("Slice", [1, 1], [4, 5], [2, 3]), one),
    "slice with steps": ("Slice", with_integers("Slice", [0, 0], [6, 6], [2, 3], [2, 2]), one),
    "gather": ("Gather", with_integers("Gather", [3, 1, 1], axis=1), one),
    "pad": ("Pad", padded("constant"), one),
    "reflect": ("Pad", padded("reflect"), one),
    "resize nearest": ("nearest", resized("nearest", "asymmetric"), one),
    "resize linear": ("Resize", resized("linear", "half_pixel"), one),
    "depth to space": ("DepthToSpace", function("DepthToSpace", blocksize=2), one),
    "pixel shuffle": ("DepthToSpace", function("DepthToSpace", blocksize=2, mode="CRD"), one),
    "space to depth": ("SpaceToDepth", function("SpaceToDepth", blocksize=2), one),
    "matmul": ("MatMul", function("MatMul"), [value((1, 5, 7)), value((1, 7, 3))]),
    "argmax": ("ArgMax", function("ArgMax", axis=1), rows),
    "top k": ("TopK", with_integers("TopK", [3], outputs=2), rows),
    "layer norm": (
        "LayerNormalization",
        function("LayerNormalization", np.ones(12, np.float32), np.zeros(12, np.float32)),
        rows,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_runtimes_are_within_the_bound_of_real_numbers(name):
    kind, body, sources = CASES[name]
    largest = 0
    for seed in SEEDS:
        case, given = case_of(body, sources, kind, seed)
        graph = single.graph_of(case)
        bound = max(bound_of(operator.kind) for operator in graph.operators)
        reference = single.run_reference(graph, given)
        tflite, _ = single.run_tflite(graph, given)
        shipped = single.run_onnx(single.FORMS["QDQ, uint8"](case.model()), given)
        single.assert_any_batch(graph, given, tflite)
        for found in (tflite, shipped):
            for one_output, expected in zip(found, reference, strict=True):
                assert one_output.dtype == expected.dtype
                apart = np.abs(one_output.astype(np.int64) - expected.astype(np.int64)).max()
                largest = max(largest, int(apart))
    assert largest <= bound


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh"])
@pytest.mark.parametrize("largest", [0.1, 3.0, 7.0, 8.0, 16.0, 40.0])
def test_functions_with_bounds_are_within_theirs_for_every_integer(kind, largest):
    integers = np.arange(-LARGEST - 1, LARGEST + 1, dtype=np.int16).reshape(1, -1)
    source = value(integers.shape, largest)
    case = Case.of(function(kind), source, Value(source.shape, 1 / 32768, 0, np.int16))
    graph = single.graph_of(case)
    (reference,), (tflite,) = (
        single.run_reference(graph, [integers]),
        single.run_tflite(graph, [integers])[0],
    )
    older = largest in (8.0, 16.0)  # scales of 2**-12 and 2**-11
    usual = {"Sigmoid": 1, "Tanh": 3}[kind]
    apart = np.abs(tflite.astype(np.int32) - reference).max()
    assert apart <= (bound_of(kind) if older else usual)


@pytest.mark.parametrize("kind", ["Celu", "Erf", "Selu", "Softplus", "Softsign"])
def test_functions_by_table_have_no_int16_form(kind):
    message = single.refusal(case_of(function(kind), one, kind, 0)[0])
    assert f"{kind} '{kind}_3' cannot be exported" in message
    assert "it is a table of 256 entries, and its values are int16" in message
    assert "to do: replace it in the model, or leave the activations in int8" in message


def test_an_operator_without_an_int16_kernel_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(wide, "VERSIONS", {"DEQUANTIZE": 3, "QUANTIZE": 2})
    message = single.refusal(case_of(function("Add"), two, "Add", 0)[0])
    assert "Add 'Add_6' cannot be exported: LiteRT has no int16 kernel of ADD" in message


def test_an_island_is_computed_in_float():
    for name in ("softmax", "depth to space", "elu", "gelu"):
        kind, body, sources = CASES[name]
        assert kind in WIDE_ISLANDS
        codes = single.codes(case_of(body, sources, kind, 0)[0])
        assert codes[0] == "DEQUANTIZE"
        assert codes[-1] == "QUANTIZE"


@pytest.mark.parametrize("name", ["conv", "depthwise", "dense"])
def test_layers_keep_int8_weights_and_sum_in_int64(name, tmp_path):
    from exporter.tflite.reader import read_tflite

    kind, body, sources = CASES[name]
    path = tmp_path / "layer.tflite"
    path.write_bytes(lower(single.graph_of(case_of(body, sources, kind, 0)[0])))
    file = read_tflite(path)
    types = [file.tensors[index].dtype for index in file.operators[-1].inputs]
    assert types == [np.int16, np.int8, np.int64]
    assert file.tensors[file.operators[-1].outputs[0]].dtype == np.int16


def test_a_zero_point_is_a_violation():
    source = Value(IMAGE, 0.001, 3, np.int16)
    with pytest.raises(CanonicalError, match="int16 with a zero point that is not 0"):
        single.graph_of(Case.of(function("Abs"), source, one[0]))
