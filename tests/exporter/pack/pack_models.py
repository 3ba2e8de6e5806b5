"""Small int8 models for the packing tests, written with the formats' own libraries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Output channels of 3x3 convolutions; with the width of 16 this is about MLPerf Tiny's ResNet-8.
RESNET_WIDTHS = (16, 16, 16, 32, 32, 64, 64)


@dataclass(frozen=True)
class Layer:
    """One convolution: `weights` are [out, in, kh, kw], scales one for each output channel."""

    weights: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    input_scale: np.float32

    @property
    def bias_scale(self) -> np.ndarray:
        product = self.weight_scale.astype(np.float64) * np.float64(self.input_scale)
        return product.astype(np.float32)


def make_layers(sparsity, *, widths=RESNET_WIDTHS, depthwise=False, seed=0):
    """Layers with the statistics of a trained network pruned by one global magnitude.

    The first convolution and the depthwise ones stay dense, as pruning recipes leave them.
    """
    random = np.random.default_rng(seed)
    floats = []
    inputs = 1
    for place, outputs in enumerate(widths):
        kinds = [(outputs, inputs, 3, 3)]
        if depthwise and place:
            kinds = [(inputs, 1, 3, 3), (outputs, inputs, 1, 1)]
        for shape in kinds:
            spread = np.exp(0.3 * random.standard_normal((shape[0], 1, 1, 1)))
            inner = np.exp(0.3 * random.standard_normal((1, shape[1], 1, 1)))
            fan_in = shape[1] * shape[2] * shape[3]
            floats.append(random.laplace(size=shape) * spread * inner * fan_in**-0.5)
        inputs = outputs
    prunable = [one for one in floats[1:] if one.shape[1] > 1]
    limit = np.quantile(np.abs(np.concatenate([one.ravel() for one in prunable])), sparsity)
    return [
        _quantized(one if place == 0 or one.shape[1] == 1 else one * (np.abs(one) >= limit), random)
        for place, one in enumerate(floats)
    ]


def _quantized(weights, random):
    scale = np.abs(weights).max(axis=(1, 2, 3)) / 127
    scale = np.maximum(scale, 1e-4).astype(np.float32)
    integers = np.rint(weights / scale[:, None, None, None]).astype(np.int8)
    bias = np.rint(random.standard_normal(len(scale)) * 3000).astype(np.int32)
    return Layer(integers, scale, bias, np.float32(random.uniform(0.01, 0.1)))


class TfliteModel:
    """A chain of convolutions in the schema's object API."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        for code in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, code)
            entry.version = 3
            self.model.operatorCodes.append(entry)

    def tensor(self, name, shape, dtype, scale, axis=0, data=None):
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape = name, [int(length) for length in shape]
        tensor.type = getattr(self.schema.TensorType, dtype)
        tensor.quantization = self.schema.QuantizationParametersT()
        tensor.quantization.scale = np.atleast_1d(np.float32(scale))
        tensor.quantization.zeroPoint = np.zeros(np.size(scale), np.int64)
        tensor.quantization.quantizedDimension = axis
        tensor.buffer = 0
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def convolution(self, place, layer, source, size):
        outputs = len(layer.weights)
        depthwise = layer.weights.shape[1] == 1 and place > 0
        stored = layer.weights.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        axis = 3 if depthwise else 0
        weights = self.tensor(f"w{place}", stored.shape, "INT8", layer.weight_scale, axis, stored)
        bias = self.tensor(f"b{place}", [outputs], "INT32", layer.bias_scale, 0, layer.bias)
        result = self.tensor(f"t{place + 1}", [1, size, size, outputs], "INT8", 0.05)
        kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        options = getattr(self.schema, f"{kind}T")()
        options.strideH = options.strideW = 1
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = self.schema.ActivationFunctionType.RELU
        if depthwise:
            options.depthMultiplier = 1
        operator = self.schema.OperatorT()
        operator.opcodeIndex = int(depthwise)
        operator.inputs, operator.outputs = [source, weights, bias], [result]
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
        operator.builtinOptions = options
        self.graph.operators.append(operator)
        return result

    def finish(self, inputs, outputs):
        import flatbuffers

        self.graph.inputs, self.graph.outputs = [inputs], [outputs]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def tflite(layers, size=14):
    """The layers as a .tflite file."""
    model = TfliteModel()
    source = first = model.tensor("t0", [1, size, size, 1], "INT8", layers[0].input_scale)
    for place, layer in enumerate(layers):
        source = model.convolution(place, layer, source, size)
    return model.finish(first, source)


def onnx_model(layers, size=14):
    """The layers as a QDQ .onnx model, weights, biases and scales in initializers."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, values = [], []

    def constant(name, array):
        values.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def dequantized(name, array, scale, zero):
        inputs = [constant(name, array), constant(f"{name}_s", scale), constant(f"{name}_z", zero)]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_f"], axis=0))
        return f"{name}_f"

    source = "input"
    for place, layer in enumerate(layers):
        scale = constant(f"a{place}_s", layer.input_scale)
        zero = constant(f"a{place}_z", np.int8(0))
        nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"q{place}"]))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"q{place}", scale, zero], [f"x{place}"])
        )
        zeros = np.zeros(len(layer.bias), np.int8)
        weights = dequantized(f"w{place}", layer.weights, layer.weight_scale, zeros)
        bias = dequantized(f"b{place}", layer.bias, layer.bias_scale, zeros.astype(np.int32))
        pads = [length // 2 for length in layer.weights.shape[2:]] * 2
        group = len(layer.bias) if layer.weights.shape[1] == 1 and place else 1
        nodes.append(
            helper.make_node(
                "Conv", [f"x{place}", weights, bias], [f"c{place}"], pads=pads, group=group
            )
        )
        source = f"c{place}"
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, size, size])],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, None)],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def onnx(layers, size=14):
    """The layers as a .onnx file."""
    return onnx_model(layers, size).SerializeToString()
