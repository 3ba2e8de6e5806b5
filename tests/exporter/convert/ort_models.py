"""A small network of many operators, quantized by ONNX Runtime's quantize_static."""

from __future__ import annotations

import numpy as np
from onnx import helper
from onnx_models import model, value, weights
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

SHAPE = (1, 3, 16, 16)


def network():
    """Two branches, joined; every operator that has an integer form in ONNX Runtime."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("MaxPool", ["r1"], ["p1"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2"], ["c2"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        node("LeakyRelu", ["c2"], ["l2"], "leaky", alpha=0.1),
        node("Add", ["p1", "l2"], ["a3"], "add"),
        node("Sigmoid", ["a3"], ["s3"], "sigmoid"),
        node("Mul", ["a3", "s3"], ["m3"], "mul"),
        node("AveragePool", ["m3"], ["v3"], "average", kernel_shape=[2, 2], strides=[2, 2]),
        node(
            "Resize",
            ["v3", "", "twice"],
            ["u3"],
            "resize",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        node("Concat", ["u3", "p1"], ["k4"], "concat", axis=1),
        node("Conv", ["k4", "w4", "b4"], ["c4"], "conv4"),
        node("Clip", ["c4", "zero", "six"], ["r4"], "relu6"),
        node("GlobalAveragePool", ["r4"], ["g5"], "global"),
        node("Flatten", ["g5"], ["f5"], "flatten"),
        node("Gemm", ["f5", "w5", "b5"], ["d5"], "gemm", transB=1),
        node("MatMul", ["d5", "w6"], ["d6"], "matmul"),
        node("Softmax", ["d6"], ["y"], "softmax", axis=1),
    ]
    constants = {
        "w1": weights(8, 3, 3, 3, seed=1),
        "b1": weights(8, seed=2),
        "w2": weights(8, 1, 3, 3, seed=3),
        "w4": weights(12, 16, 1, 1, seed=4),
        "b4": weights(12, seed=5),
        "w5": weights(10, 12, seed=6),
        "b5": weights(10, seed=7),
        "w6": weights(10, 6, seed=8),
        "twice": np.array([1, 1, 2, 2], np.float32),
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    return model(nodes, [value("x", SHAPE)], [value("y", [1, 6])], constants)


class Samples(CalibrationDataReader):
    """Random pictures."""

    def __init__(self, name="x", shape=SHAPE):
        generator = np.random.default_rng(9)
        self._left = iter(
            [{name: generator.standard_normal(shape).astype(np.float32)} for _ in range(4)]
        )

    def get_next(self):
        return next(self._left, None)


def quantized(source, target, form, activations, kinds, per_channel, **options):
    """Quantize a file; int8 weights have 7 bits.

    With 8, ONNX Runtime's u8 by s8 products saturate at 16 bits on a CPU that has AVX2 and no
    VNNI, and the source's own answers would depend on the machine.
    """
    quantize_static(
        source,
        target,
        Samples(),
        quant_format=getattr(QuantFormat, form),
        activation_type=getattr(QuantType, activations),
        weight_type=getattr(QuantType, kinds),
        per_channel=per_channel,
        reduce_range=kinds == "QInt8",
        extra_options=options,
    )
    return target
