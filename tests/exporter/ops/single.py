"""Models of one operator: built, lowered, run in both runtimes and in the integer reference.

A test describes the operator once, as a function that writes nodes to a `Net`. The same function
gives the canonical int8 model and, with real numbers in place of integers, its float twin.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, shape_inference

from exporter.errors import UnsupportedError
from exporter.graph import integer, passes
from exporter.graph.canonical import check
from exporter.graph.layout import image_tensors
from exporter.graph.model import Graph
from exporter.graph.read import read
from exporter.ort import qdq, qoperator
from exporter.tflite import lower
from exporter.tflite.context import Lowering
from runtimes.backend import open_model

Array = np.ndarray

DRAWN = settings(deadline=None, max_examples=15, derandomize=True)
"""The same few examples each time: a test that fails at random stops people who changed nothing."""

OPSET, WIDE_OPSET = 20, 21
EVERY_INPUT = np.arange(-128, 128, dtype=np.int8)
UNSIGNED_SHIFT = 128
SELDOM = 0.01
"""The share of results that may lie so near a tie that two float sums round apart."""
TIE = 2e-4
"""Steps: what float32 leaves unsure of a result of some hundred steps."""
EXACT_PARTS = 511
"""An odd number of parts of the output's step: see exporter/quantize/exact.py."""

seeds = st.integers(0, 2**31)
steps = st.floats(0.002, 0.2)
zero_points = st.integers(-128, 127)
sides = st.integers(1, 9)


@dataclass(frozen=True)
class Value:
    """An int8 activation, or an int16 one.

    Attributes:
        shape: in ONNX order, with 1 for the batch.
        scale: the real value of one step.
        zero_point: the integer of zero.
        dtype: of the integers.
    """

    shape: tuple[int, ...]
    scale: float = 0.05
    zero_point: int = 0
    dtype: Any = np.int8

    def real(self, integers: Array) -> Array:
        """Integers as real numbers, float64, with the scale as the files hold it."""
        return (integers.astype(np.float64) - self.zero_point) * float(np.float32(self.scale))

    def sample(self, seed: int, count: int = 2) -> Array:
        """Random integers of every size, [count, ...]."""
        shape, limits = (count, *self.shape[1:]), np.iinfo(self.dtype)
        drawn = np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape)
        return drawn.astype(self.dtype)

    def every(self) -> Array:
        """Every int8 value, repeated until the shape is full."""
        return np.resize(EVERY_INPUT, self.shape)


@dataclass
class Net:
    """Nodes and constants of one model, of integers or of real numbers."""

    quantized: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, data: Any, dtype: Any = np.float32) -> str:
        """A plain constant: positions, limits, slopes. Its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(data, dtype), name))
        return name

    def integers(self, data: Any) -> str:
        """An int64 constant: shapes, axes, paddings. Its name."""
        return self.constant(data, np.int64)

    def quantized_constant(
        self, data: Array, scale: Any, zero_point: int = 0, *, axis: int = 0
    ) -> str:
        """Integers with a scale (or one for each channel along `axis`), as real numbers."""
        factors = np.asarray(scale, np.float32)
        if not self.quantized:
            shape = [1] * data.ndim
            if factors.ndim:
                shape[axis] = -1
            wide = factors.reshape(shape) if factors.ndim else factors
            return self.constant((data.astype(np.float64) - zero_point) * wide)
        points = np.full(factors.shape, zero_point, data.dtype)
        inputs = [
            self.constant(data, data.dtype),
            self.constant(factors),
            self.constant(points, data.dtype),
        ]
        attributes = {"axis": axis} if factors.ndim else {}
        return self.node("DequantizeLinear", inputs, **attributes)

    def node(self, kind: str, inputs: Sequence[str], *, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its result, or the names of several."""
        index = len(self.nodes)
        names = [f"{kind.lower()}_{index}_{position}" for position in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, name=f"{kind}_{index}", **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def requantize(self, real: str, value: Value) -> str:
        """A real value → QuantizeLinear → DequantizeLinear; itself in the float twin."""
        if not self.quantized:
            return real
        return self.dequantize(self.quantize(real, value), value)

    def quantize(self, real: str, value: Value) -> str:
        """A real value → QuantizeLinear."""
        return self.node("QuantizeLinear", [real, *self._parameters(value)])

    def dequantize(self, integers: str, value: Value) -> str:
        """Integers → DequantizeLinear."""
        return self.node("DequantizeLinear", [integers, *self._parameters(value)])

    def _parameters(self, value: Value) -> list[str]:
        return [
            self.constant(np.float32(value.scale)),
            self.constant(value.zero_point, value.dtype),
        ]


FORMS: dict[str, Callable[[ir.Model], ir.Model]] = {
    "QDQ, uint8": qdq.lower,
    "QDQ, int8": lambda model: qdq.lower(model, unsigned=False),
    "integer operators": qoperator.lower,
}
"""What ships for ONNX Runtime, made of the canonical model."""

Body = Callable[..., Any]
"""(net, *names of the real inputs) → name of the result, or a tuple of names."""


@dataclass(frozen=True)
class Case:
    """One operator with its operands.

    Attributes:
        body: writes the operator's nodes.
        inputs: the activations that it reads.
        outputs: one for each result; None for one that is no int8 activation (positions).
    """

    body: Body
    inputs: tuple[Value, ...]
    outputs: tuple[Value | None, ...]

    @classmethod
    def of(cls, body: Body, source: Value | Sequence[Value], *results: Value | None) -> Case:
        """One or more inputs, one or more results."""
        inputs = (source,) if isinstance(source, Value) else tuple(source)
        return cls(body, inputs, results)

    def model(self, *, quantized: bool = True) -> ir.Model:
        """The canonical QDQ model, or its float twin; the batch is a symbol."""
        net = Net(quantized)
        names, given = [], []
        for index, value in enumerate(self.inputs):
            name = f"input_{index}"
            dtype = np.dtype(value.dtype if quantized else np.float32)
            kind = helper.np_dtype_to_tensor_dtype(dtype)
            sizes = ["batch", *value.shape[1:]] if value.shape[0] == 1 else list(value.shape)
            given.append(helper.make_tensor_value_info(name, kind, sizes))
            real = net.dequantize(name, value) if quantized else name
            names.append(net.requantize(real, value))
        found = self.body(net, *names)
        results = found if isinstance(found, tuple) else (found,)
        wanted = [
            net.quantize(name, value) if quantized and value is not None else name
            for name, value in zip(results, self.outputs, strict=True)
        ]
        return ir.from_proto(_complete(net, given, wanted))


def _complete(net: Net, given: list[Any], wanted: list[str]) -> onnx.ModelProto:
    """A model with every shape inferred, and its outputs declared."""
    empty = [helper.make_empty_tensor_value_info(name) for name in wanted]
    graph = helper.make_graph(net.nodes, "single", given, empty, net.constants)
    wide = any(tensor.data_type == TensorProto.INT16 for tensor in net.constants)
    opset = WIDE_OPSET if wide else OPSET
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(inferred)
    return inferred


@dataclass(frozen=True)
class Outcome:
    """What each gives for the same inputs: one array for each output, in ONNX order.

    Attributes:
        reference: of the integer reference; empty for a float model.
        tflite: of LiteRT with XNNPACK.
        onnx: of ONNX Runtime, by form; int8, whatever type the form has.
        left: the TFLite operators that XNNPACK does not run.
    """

    reference: list[Array]
    tflite: list[Array]
    onnx: dict[str, list[Array]]
    left: frozenset[str]


def graph_of(case: Case, *, quantized: bool = True) -> Graph:
    """The graph that the lowerings see, checked where it is canonical."""
    model = case.model(quantized=quantized)
    passes.pool_padding(model)
    passes.clean(model)
    graph = read(model)
    if quantized:
        check(graph)
    return graph


def run(case: Case, inputs: Sequence[Array], *, quantized: bool = True) -> Outcome:
    """Lower a case and run it everywhere.

    Args:
        case: the operator.
        inputs: int8 for a quantized case, else float32, [N, ...] in ONNX order.
        quantized: whether to take the canonical form or the float twin.
    """
    graph = graph_of(case, quantized=quantized)
    tflite, left = run_tflite(graph, inputs)
    reference = run_reference(graph, inputs) if quantized else []
    model = case.model(quantized=quantized)
    forms = {"float": model}
    if quantized:
        forms = {form: lower_onnx(model) for form, lower_onnx in FORMS.items()}
    found = {form: run_onnx(shipped, inputs) for form, shipped in forms.items()}
    return Outcome(reference, tflite, found, left)


def run_reference(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of the integer reference."""
    values = integer.run(graph, inputs)
    return [values[name] for name in graph.outputs]


def run_tflite(
    graph: Graph, inputs: Sequence[Array], *, at_once: bool = False
) -> tuple[list[Array], frozenset[str]]:
    """The outputs of LiteRT, sample by sample or at once; and which operators XNNPACK leaves."""
    images = image_tensors(graph)
    stored = [
        array
        if name not in images or graph.tensors[name].layout == "NHWC"
        else np.ascontiguousarray(np.moveaxis(array, 1, -1))
        for name, array in zip(graph.inputs, inputs, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "single.tflite"
        path.write_bytes(lower(graph))
        backend = open_model(path)
        try:
            found = []
            if at_once:
                backend.resize(len(stored[0]))
            for sample in [stored] if at_once else _samples(graph, stored):
                backend.set_inputs(sample)
                backend.invoke()
                found.append(backend.get_outputs())
            left = _left(backend.delegate()[1])
        finally:
            backend.close()
    outputs = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    ordered = [
        np.moveaxis(array, -1, 1) if name in images else array
        for name, array in zip(graph.outputs, outputs, strict=True)
    ]
    return ordered, left


def _left(notes: Sequence[str]) -> frozenset[str]:
    """The operators that the notes on the delegate name."""
    named = " ".join(notes).partition("TFLite's kernels run ")[2]
    if notes and not named:
        return frozenset({"all"})
    return frozenset(named.split(", ")) if named else frozenset()


def _samples(graph: Graph, stored: list[Array]) -> list[list[Array]]:
    """The inputs one sample at a time; whole where the first axis is no batch."""
    if any(graph.tensors[name].shape[0] != 1 for name in graph.inputs):
        return [stored]
    return [[array[i : i + 1] for array in stored] for i in range(len(stored[0]))]


def run_onnx(model: ir.Model, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of ONNX Runtime at its default optimization level; uint8 becomes int8."""
    data = ir.to_proto(model).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, inputs, strict=True)))
    return [
        (array.astype(np.int16) - UNSIGNED_SHIFT).astype(np.int8)
        if array.dtype == np.uint8
        else array
        for array in outputs
    ]


def assert_exact(case: Case, *inputs: Array, left: Sequence[str] | None = ()) -> Outcome:
    """LiteRT, ONNX Runtime and the reference give the same integers, and XNNPACK computes them.

    A result of a drawn scale may lie on a tie, closer than float32 can tell: only such a one may
    differ, by a step. What the exact rules hold away from ties lies ten times farther.

    Args:
        case: the operator.
        inputs: int8 [N, ...], one for each input of the case.
        left: the TFLite operators that XNNPACK leaves to TFLite's own kernels, those and no others;
            "all" where it has nothing to do; None where it takes some shapes and leaves others.
    """
    outcome = run(case, inputs)
    assert_any_batch(graph_of(case), inputs, outcome.tflite)
    assert left is None or outcome.left == set(left), f"XNNPACK leaves {sorted(outcome.left)}"
    for name, outputs in {"LiteRT": outcome.tflite, **outcome.onnx}.items():
        for found, reference in zip(outputs, outcome.reference, strict=True):
            assert found.dtype == reference.dtype
            differs = found != reference
            if differs.any() and np.array_equal(differs, differs & ties(case, inputs, found)):
                continue
            np.testing.assert_array_equal(found, reference, f"{name} differs from the reference")
    return outcome


def ties(case: Case, inputs: Sequence[Array], found: Array) -> Array:
    """Which of a case's results, as integers, lie at a tie: the float twin tells, [N, ...] bool."""
    real = [
        value.real(array).astype(np.float32)
        for value, array in zip(case.inputs, inputs, strict=True)
    ]
    near = np.zeros(found.shape, bool)
    results = run_onnx(case.model(quantized=False), real)
    for value, result in zip(case.outputs, results, strict=True):
        if value is not None and result.shape == found.shape:
            exact = result.astype(np.float64) / np.float32(value.scale) + value.zero_point
            near |= (np.abs(exact - np.floor(exact) - 0.5) < TIE) & (np.abs(found - exact) < 1)
    return near


def assert_any_batch(graph: Graph, inputs: Sequence[Array], expected: Sequence[Array]) -> None:
    """All samples at once give what they give one by one, where the file's batch is open."""
    if not Lowering(graph).open_batch:
        return
    whole, _ = run_tflite(graph, inputs, at_once=True)
    for found, one_by_one in zip(whole, expected, strict=True):
        np.testing.assert_array_equal(found, one_by_one, "a batch differs from its samples")


def assert_within_one(case: Case, *inputs: Array, left: Sequence[str] | None = ()) -> Outcome:
    """LiteRT and ONNX Runtime differ from the reference by a step at most: no exact form exists."""
    outcome = run(case, inputs)
    assert left is None or outcome.left == set(left), f"XNNPACK leaves {sorted(outcome.left)}"
    for outputs in (outcome.tflite, *outcome.onnx.values()):
        for found, reference in zip(outputs, outcome.reference, strict=True):
            distance = np.abs(found.astype(np.int32) - reference)
            assert distance.max(initial=0) <= 1
            assert np.mean(distance > 0) < SELDOM or distance.sum() <= 2
    return outcome


def assert_real(case: Case, *inputs: Array, relative: float = 1e-5) -> Outcome:
    """The float twin gives the same real numbers in both runtimes, within float32's error.

    Args:
        case: the operator.
        inputs: int8 [N, ...]; taken as the real numbers that they stand for.
        relative: the largest difference allowed, against the largest value.
    """
    real = [
        value.real(array).astype(np.float32)
        for value, array in zip(case.inputs, inputs, strict=True)
    ]
    outcome = run(case, real, quantized=False)
    for tflite, onnx_ in zip(outcome.tflite, outcome.onnx["float"], strict=True):
        assert tflite.shape == onnx_.shape
        largest = float(np.abs(onnx_).max(initial=0.0))
        np.testing.assert_allclose(tflite, onnx_, rtol=relative, atol=relative * largest)
    return outcome


def refusal(case: Case, *, quantized: bool = True) -> str:
    """The message with which the lowering refuses a case."""
    graph = graph_of(case, quantized=quantized)
    with pytest.raises(UnsupportedError) as caught:
        lower(graph)
    return " ".join(str(caught.value).split())


def codes(case: Case, *, quantized: bool = True) -> list[str]:
    """The TFLite operators that a case becomes, in order."""
    from exporter.tflite.reader import read_tflite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "single.tflite"
        path.write_bytes(lower(graph_of(case, quantized=quantized)))
        return [operator.code for operator in read_tflite(path).operators]


def fitting(real: Array, shape: tuple[int, ...]) -> Value:
    """An int8 activation whose range holds these real numbers."""
    low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
    scale = float(np.float32(max(high - low, 1e-3) / 255))
    return Value(shape, scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def away_from_ties(real: Array, value: Value, candidates: int = 64) -> Value:
    """The scale, up to half a percent larger, whose rounded results lie farthest from their ties.

    The rule for a function of one value (exporter/quantize/exact.py).
    """
    steps_tried = [
        float(np.float32(value.scale * (1 + 0.005 * i / candidates))) for i in range(candidates)
    ]

    def margin(step: float) -> float:
        exact = real / step + value.zero_point
        inside = exact[(exact > -128.75) & (exact < 127.75)]
        return float(np.abs(inside - np.floor(inside) - 0.5).min(initial=0.5))

    return Value(value.shape, max(steps_tried, key=margin), value.zero_point)


def function(kind: str, *constants: Any, **attributes: Any) -> Body:
    """A body of one node: its activations first, then float constants."""

    def body(net: Net, *names: str) -> str:
        given = [net.constant(data) for data in constants]
        return str(net.node(kind, [*names, *given], **attributes))

    return body


def pointwise(body: Body, source: Value, result: Value | None = None) -> Case:
    """A function of one value, with a scale at its result that obeys the rule for such."""
    if result is None:
        float_case = Case.of(body, source, None)
        integers = source.every().astype(np.float64)
        real = ((integers - source.zero_point) * np.float32(source.scale)).astype(np.float32)
        found = run_onnx(float_case.model(quantized=False), [real])[0].astype(np.float64)
        found = found[np.isfinite(found)]
        result = away_from_ties(found, fitting(found, source.shape))
    return Case.of(body, source, result)
