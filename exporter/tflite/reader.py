"""Reads a .tflite file back: tensors with their scales and constants, operators by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporter.errors import ModelError
from exporter.graph.model import Array

_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
}
_CODES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


@dataclass(frozen=True)
class FileTensor:
    """A tensor as the file has it; shapes and axes are TFLite's.

    `scale` is None without quantization, else float32 [1] or [channels].
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    scale: Array | None
    zero_point: int
    axis: int
    data: Array | None


@dataclass(frozen=True)
class FileOperator:
    """An operator: its name in the schema, and tensor indices."""

    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteFile:
    """The first subgraph of a file."""

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: Path) -> TfliteFile:
    """Read a .tflite file.

    Raises:
        ModelError: it is missing or no TFLite file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read", found=str(error)) from None
    if raw[4:8] != b"TFL3":
        raise ModelError(
            f"{path} is no TFLite file", expected="the identifier TFL3", found=repr(raw[4:8])
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(raw, 0)
        graph = model.subgraphs[0]
        tensors = tuple(_tensor(entry, model) for entry in graph.tensors)
        operators = tuple(_operator(entry, model) for entry in graph.operators)
        return TfliteFile(tensors, operators, _ints(graph.inputs), _ints(graph.outputs))
    except Exception as error:  # the schema's reader trusts offsets and raises whatever comes
        raise ModelError(f"{path} is damaged", found=f"{type(error).__name__}: {error}") from None


def _ints(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _tensor(entry: Any, model: Any) -> FileTensor:
    dtype = _DTYPES.get(entry.type)
    shape = _ints(entry.shape)
    quantization = entry.quantization
    scale = None
    zero_point = axis = 0
    if quantization is not None and quantization.scale is not None and len(quantization.scale):
        scale = np.asarray(quantization.scale, np.float32)
        points = quantization.zeroPoint
        zero_point = int(points[0]) if points is not None and len(points) else 0
        axis = int(quantization.quantizedDimension)
    raw = model.buffers[entry.buffer].data
    data = None
    if raw is not None and len(raw) and dtype is not None:
        data = np.asarray(raw, np.uint8).view(dtype).reshape(shape)
    return FileTensor(_text(entry.name), shape, dtype, scale, zero_point, axis, data)


def _operator(entry: Any, model: Any) -> FileOperator:
    code = model.operatorCodes[entry.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return FileOperator(
        _CODES[number], int(code.version), _ints(entry.inputs), _ints(entry.outputs)
    )
