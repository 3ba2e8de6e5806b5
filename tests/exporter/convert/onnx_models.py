"""Small ONNX models, built by hand."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.machine import this_machine

FLOAT = TensorProto.FLOAT


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, constants=None, opset=20, contributed=False, **options):
    """A model; `constants` are arrays by name."""
    graph = helper.make_graph(
        nodes,
        "main",
        inputs,
        outputs,
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    if contributed:
        opsets.append(helper.make_opsetid("com.microsoft", 1))
    made = helper.make_model(graph, opset_imports=opsets, **options)
    made.ir_version = 10
    return made


def save(made, path):
    onnx.save(made, path)
    return path


def weights(*shape, seed=0, scale=0.3):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def small(opset=20, batch="N"):
    """Conv, Relu, MaxPool, Flatten, Gemm on [N, 3, 8, 8]."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v", "d"], ["y"], "gemm", transB=1),
    ]
    constants = {"w": weights(4, 3, 3, 3), "b": weights(4), "v": weights(5, 64), "d": weights(5)}
    return model(nodes, [value("x", [batch, 3, 8, 8])], [value("y", [batch, 5])], constants, opset)


GROWING = {
    "ConstantOfShape": ["sizes"],
    "Expand": ["one", "sizes"],
    "Tile": ["one", "sizes"],
    "Pad": ["one", "pads"],
    "Range": ["zero", "far", "step"],
}
"""What makes a terabyte of a few bytes: operators with their inputs."""


def growing(kind):
    """A model with a constant of 2^40 values, computed by an operator."""
    nodes = [
        helper.make_node(kind, GROWING[kind], ["big"], "grow"),
        helper.make_node("ReduceMax", ["big"], ["most"], "reduce", keepdims=0),
        helper.make_node("Add", ["x", "most"], ["y"], "add"),
    ]
    constants = {
        "sizes": np.array([2**20, 2**20], np.int64),
        "pads": np.array([0, 0, 2**20, 2**20], np.int64),
        "one": np.ones((1, 1), np.float32),
        "zero": np.float32(0),
        "far": np.float32(2**40),
        "step": np.float32(1),
    }
    return model(nodes, [value("x", [1, 4])], [value("y", None)], constants)


class Qdq:
    """Builds QDQ graphs: constants, nodes, and the pairs between them."""

    def __init__(self, dtype=np.int8):
        self.nodes, self.constants, self.dtype = [], {}, np.dtype(dtype)

    def constant(self, name, array):
        self.constants[name] = np.asarray(array)
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def quantize(self, source, scale, zero_point=0, *, dtype=None, name="", axis=None):
        """source → QuantizeLinear → DequantizeLinear; gives the real value."""
        name = name or f"{source}_q"
        dtype = np.dtype(dtype or self.dtype)
        scales = self.constant(f"{name}_scale", np.asarray(scale, np.float32))
        point = self.constant(f"{name}_point", np.asarray(zero_point).astype(dtype))
        attributes = {} if axis is None else {"axis": axis}
        self.node("QuantizeLinear", [source, scales, point], f"{name}_i", **attributes)
        return self.node("DequantizeLinear", [f"{name}_i", scales, point], name, **attributes)

    def integers(self, name, array, scale, zero_point=0, axis=None):
        """A constant of integers behind a DequantizeLinear; gives the real value."""
        array = np.asarray(array)
        stored = self.constant(f"{name}_i", array)
        scales = self.constant(f"{name}_scale", np.asarray(scale, np.float32))
        point = np.broadcast_to(np.asarray(zero_point, array.dtype), np.shape(scale))
        points = self.constant(f"{name}_point", point)
        attributes = {} if axis is None else {"axis": axis}
        return self.node("DequantizeLinear", [stored, scales, points], name, **attributes)

    def model(self, inputs, outputs, opset=20, **options):
        return model(self.nodes, inputs, outputs, self.constants, opset, **options)


def products_saturate():
    """Whether ONNX Runtime's u8 by s8 sums of pairs leave 16 bits here: AVX2 and no VNNI."""
    features = this_machine().features or ()
    return "AVX2" in features and not any("VNNI" in name for name in features)


def random_integers(*shape, seed=0, low=-64, high=65, dtype=np.int8):
    """Weights on which no CPU's products saturate: see `products_saturate`."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
