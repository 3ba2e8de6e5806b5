"""Writes the TFLite flatbuffer. The only file that imports its schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporter.tflite import wide

Array = np.ndarray

BUFFER_ALIGNMENT = 16
"""What the schema asks for: kernels may load constants with aligned vector instructions."""

SIGNATURE = "serving_default"
"""What TensorFlow calls the one signature of a file that has one."""

_OPTIONS = {
    "ABS": "AbsOptions",
    "ADD": "AddOptions",
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "DIV": "DivOptions",
    "ELU": "",
    "EXP": "ExpOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
    "LOG": "",
    "LOGISTIC": "",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "NEG": "NegOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "PRELU": "",
    "QUANTIZE": "QuantizeOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RELU": "",
    "RELU6": "",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "RSQRT": "",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SQRT": "",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TANH": "",
    "TOPK_V2": "TopKV2Options",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}
_ENUMS = {
    "padding": schema.Padding,
    "fusedActivationFunction": schema.ActivationFunctionType,
    "inDataType": schema.TensorType,
    "outDataType": schema.TensorType,
    "outputType": schema.TensorType,
    "mode": schema.MirrorPadMode,
}
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


class NoOptionsError(LookupError):
    """`_OPTIONS` does not say which table of options an operator has; `code` is TFLite's name."""

    def __init__(self, code: str) -> None:
        super().__init__(f"exporter/tflite/writer.py has no {code} in _OPTIONS")
        self.code = code


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start on a multiple of 16, which the object API does not see to."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the object API's name
        """Write this table; called by the schema."""
        data = None
        if self.data is not None:
            size = len(self.data)
            builder.StartVector(1, size, BUFFER_ALIGNMENT)
            builder.head = builder.Head() - size
            builder.Bytes[builder.Head() : builder.Head() + size] = self.data.tobytes()
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class Writer:
    """Collects tensors and operators of one subgraph, then packs them.

    Shapes and axes here are TFLite's: NHWC for images.
    """

    def __init__(self, description: str) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = description
        self._model.operatorCodes = []
        self._model.buffers = [_AlignedBuffer()]
        self._graph = schema.SubGraphT()
        self._graph.tensors = []
        self._graph.operators = []
        self._model.subgraphs = [self._graph]
        self._codes: dict[tuple[str, int], int] = {}
        self._shared: dict[bytes, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        *,
        scale: Array | None = None,
        zero_point: int = 0,
        axis: int = 0,
        data: Array | None = None,
    ) -> int:
        """Add a tensor; return its index. Equal constants share one buffer."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = [int(size) for size in shape]
        tensor.type = _TYPES[np.dtype(dtype)]
        tensor.buffer = 0 if data is None else self._buffer(data)
        if scale is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(np.asarray(scale, np.float32))
            quantization.zeroPoint = np.full(quantization.scale.shape, zero_point, np.int64)
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def metadata(self, name: str, content: bytes) -> None:
        """Add an entry that readers find by its name."""
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self._content(content)
        self._model.metadata = [*(self._model.metadata or ()), entry]

    def leave_batch_open(self, index: int) -> None:
        """Say that a tensor's first size may be another one: an interpreter can resize it."""
        tensor = self._graph.tensors[index]
        tensor.shapeSignature = [-1, *tensor.shape[1:]]

    def _buffer(self, data: Array) -> int:
        return self._content(np.ascontiguousarray(data).tobytes())

    def _content(self, raw: bytes) -> int:
        if raw not in self._shared:
            buffer = _AlignedBuffer()
            buffer.data = np.frombuffer(raw, np.uint8)
            self._model.buffers.append(buffer)
            self._shared[raw] = len(self._model.buffers) - 1
        return self._shared[raw]

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        version: int = 1,
        **options: object,
    ) -> None:
        """Add an operator. Options carry the schema's field names; enumerations go by name.

        Where a tensor is int16, `version` is the one that its kernel came with.

        Raises:
            NoOptionsError: nothing says which table of options the operator has.
            NoWideKernelError: a tensor is int16, and LiteRT has no kernel for that.
        """
        if code not in _OPTIONS:
            raise NoOptionsError(code)
        if any(self._graph.tensors[i].type == schema.TensorType.INT16 for i in (*inputs, *outputs)):
            version = wide.version_of(code)
            options |= wide.OPTIONS.get(code, {})
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code, version)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        table = _OPTIONS[code]
        if table:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
        for field, value in options.items():
            if field in _ENUMS:
                value = getattr(_ENUMS[field], str(value))  # noqa: PLW2901
            setattr(operator.builtinOptions, field, value)
        self._graph.operators.append(operator)

    def _named(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self._graph.tensors[index].name, index
        return entry

    def _code(self, code: str, version: int) -> int:
        key = (code, version)
        if key not in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = getattr(schema.BuiltinOperator, code)
            # Readers from before the field was widened look at the old one, which ends at 127.
            entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
            entry.version = version
            self._model.operatorCodes.append(entry)
            self._codes[key] = len(self._codes)
        return self._codes[key]

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file's bytes, with a signature that calls inputs and outputs by their names."""
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.inputs = [self._named(index) for index in inputs]
        signature.outputs = [self._named(index) for index in outputs]
        self._model.signatureDefs = [signature]
        size = sum(len(b.data) for b in self._model.buffers if b.data is not None)
        builder = flatbuffers.Builder(size + 65536)
        builder.Finish(self._model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
