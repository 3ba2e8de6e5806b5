"""Tiny models with known answers: one 1x1 convolution, as TFLite and as ONNX, int8 and float.

The arrays are the same in every file, so that every interpreter has to give one answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH, CHANNELS, OUT = 4, 6, 3, 5
X_SCALE, X_ZERO = np.float32(0.031), -5
Y_SCALE, Y_ZERO = np.float32(0.043), 9
_RNG = np.random.default_rng(20)
# Two neighbours sum to 128 at most, so that u8 x s8 products do not saturate on a CPU without VNNI.
WEIGHTS = _RNG.integers(-64, 65, (OUT, CHANNELS), dtype=np.int8)
W_SCALES = _RNG.uniform(0.005, 0.02, OUT).astype(np.float32)
BIASES = _RNG.integers(-900, 900, OUT, dtype=np.int32)
FLOAT_WEIGHTS = (WEIGHTS * W_SCALES[:, None]).astype(np.float32)


def reference(images: np.ndarray) -> np.ndarray:
    """int8 [N, 4, 6, 3] to int8 [N, 4, 6, 5], in integers, rounding halves to even."""
    total = (images.astype(np.int64) - X_ZERO) @ WEIGHTS.T.astype(np.int64) + BIASES
    scaled = total * (np.float64(X_SCALE) * W_SCALES / Y_SCALE)
    return np.clip(np.rint(scaled) + Y_ZERO, -128, 127).astype(np.int8)


@dataclass(frozen=True)
class Models:
    int8_tflite: Path
    dense_tflite: Path  # the same numbers, by a dense layer with a scale per channel
    int8_onnx: Path
    float_tflite: Path
    float_onnx: Path
    images: np.ndarray  # int8 [7, 4, 6, 3]
    outputs: np.ndarray  # what every int8 file must give for them
    golden: Path
    wrong_golden: Path  # three values off, one of them by 4


def write_models(directory: Path) -> Models:
    images = np.random.default_rng(21).integers(
        -128, 128, (7, HEIGHT, WIDTH, CHANNELS), dtype=np.int8
    )
    outputs = reference(images)
    wrong = outputs.copy()
    for index, step in (((0, 0, 0, 0), 1), ((3, 1, 5, 2), 4), ((6, 3, 2, 4), 2)):
        wrong[index] += -step if wrong[index] > 0 else step
    models = Models(
        int8_tflite=directory / "tiny.int8.tflite",
        dense_tflite=directory / "dense.int8.tflite",
        int8_onnx=directory / "tiny.int8.onnx",
        float_tflite=directory / "tiny.fp32.tflite",
        float_onnx=directory / "tiny.fp32.onnx",
        images=images,
        outputs=outputs,
        golden=directory / "golden.npz",
        wrong_golden=directory / "wrong.npz",
    )
    models.int8_tflite.write_bytes(_tflite(quantized=True))
    models.dense_tflite.write_bytes(_tflite(quantized=True, dense=True))
    models.float_tflite.write_bytes(_tflite(quantized=False))
    onnx.save(_onnx_int8(), models.int8_onnx)
    onnx.save(_onnx_float(), models.float_onnx)
    np.savez(models.golden, **{"input.0": images, "output.0": outputs})
    np.savez(models.wrong_golden, **{"input.0": images, "output.0": wrong})
    return models


def _tflite(quantized: bool, dense: bool = False) -> bytes:
    kind = schema.TensorType
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    graph.tensors, graph.inputs, graph.outputs = [], [0], [3]

    def tensor(name: str, shape: tuple[int, ...], scale: Any, zero: int, data: Any) -> None:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        made.type = kind.FLOAT32
        if quantized:
            made.type = kind.INT32 if name == "b" else kind.INT8
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.atleast_1d(scale)
            made.quantization.zeroPoint = np.full(np.size(scale), zero, np.int64)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)

    weights, biases = (WEIGHTS, BIASES) if quantized else (FLOAT_WEIGHTS, np.float32(BIASES))
    tensor("x", (1, HEIGHT, WIDTH, CHANNELS), X_SCALE, X_ZERO, None)
    tensor("w", (OUT, CHANNELS) if dense else (OUT, 1, 1, CHANNELS), W_SCALES, 0, weights)
    tensor("b", (OUT,), X_SCALE * W_SCALES, 0, biases)
    tensor("y", (1, HEIGHT, WIDTH, OUT), Y_SCALE, Y_ZERO, None)
    code, operator = _dense() if dense else _convolution(3 if quantized else 1)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    model.operatorCodes, graph.operators = [code], [operator]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _convolution(version: int) -> tuple[Any, Any]:
    code, operator, options = schema.OperatorCodeT(), schema.OperatorT(), schema.Conv2DOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = version
    options.strideH = options.strideW = 1
    options.dilationHFactor = options.dilationWFactor = 1
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = options
    return code, operator


def _dense() -> tuple[Any, Any]:
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 5
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = options
    return code, operator


def _onnx_int8() -> onnx.ModelProto:
    """uint8 NCHW in and out, zero points 128 higher, as the exported ONNX files have it."""
    constants = {
        "xs": X_SCALE,
        "xz": np.uint8(X_ZERO + 128),
        "w": WEIGHTS.reshape(OUT, CHANNELS, 1, 1),
        "ws": W_SCALES,
        "wz": np.zeros(OUT, np.int8),
        "b": BIASES,
        "bs": X_SCALE * W_SCALES,
        "bz": np.zeros(OUT, np.int32),
        "ys": Y_SCALE,
        "yz": np.uint8(Y_ZERO + 128),
    }
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
        node("Conv", ["xf", "wf", "bf"], ["yf"]),
        node("QuantizeLinear", ["yf", "ys", "yz"], ["y"]),
    ]
    return _onnx_model(nodes, constants, TensorProto.UINT8, "N")


def _onnx_float() -> onnx.ModelProto:
    constants = {"w": FLOAT_WEIGHTS.reshape(OUT, CHANNELS, 1, 1), "b": np.float32(BIASES)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"])]
    return _onnx_model(nodes, constants, TensorProto.FLOAT, 1)


def _onnx_model(
    nodes: list[Any], constants: dict[str, Any], kind: int, batch: str | int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", kind, [batch, CHANNELS, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("y", kind, [batch, OUT, HEIGHT, WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
