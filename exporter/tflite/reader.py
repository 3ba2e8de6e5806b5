"""Reads a .tflite file back: tensors with their scales and constants, operators by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.FLOAT64: np.dtype(np.float64),
    schema.TensorType.BOOL: np.dtype(np.bool_),
}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
_CODES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


@dataclass(frozen=True)
class FileTensor:
    """A tensor as the file has it; shapes and axes are TFLite's.

    `scale` is None without quantization, else float32 [1] or [channels]. `signature` is the shape
    with -1 for a size that is left open; `type_name` says the type where numpy has none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    scale: Array | None
    zero_point: int
    axis: int
    data: Array | None
    signature: tuple[int, ...] = ()
    type_name: str = ""


@dataclass(frozen=True)
class FileOperator:
    """An operator: its name in the schema, and tensor indices."""

    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteFile:
    """The first subgraph of a file, of `subgraphs`; `metadata` by name, where it is text."""

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int = 1
    metadata: dict[str, str] = field(default_factory=dict)


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
        _check_counts(raw)
        model = schema.ModelT.InitFromPackedBuf(raw, 0)
        graph = model.subgraphs[0]
        tensors = tuple(_tensor(entry, model) for entry in graph.tensors)
        operators = tuple(_operator(entry, model) for entry in graph.operators)
        inputs, outputs = _ints(graph.inputs), _ints(graph.outputs)
        _check_indices(len(tensors), operators, (*inputs, *outputs))
        return TfliteFile(
            tensors,
            operators,
            inputs,
            outputs,
            len(model.subgraphs),
            _metadata(model),
        )
    except Exception as error:  # the schema's reader trusts offsets and raises whatever comes
        raise ModelError(
            f"{path} is damaged",
            expected="a .tflite file, whole",
            found=f"{type(error).__name__}: {error}",
            remedy="get the file again: it may be cut off",
        ) from None


def _check_counts(raw: bytes) -> None:
    """Refuse a file whose tables are more than its bytes: they lie within each other.

    Read one by one, a few such tables of a small file would fill the memory.
    """
    model = schema.Model.GetRootAs(raw, 0)
    entries = model.BuffersLength() + model.OperatorCodesLength() + model.SubgraphsLength()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        entries += graph.TensorsLength() + graph.OperatorsLength()
        if 4 * entries > len(raw):  # each has four bytes at the least
            raise ValueError(f"{entries} entries and more in {len(raw)} bytes")


def _check_indices(count: int, operators: Sequence[FileOperator], interface: Sequence[int]) -> None:
    """Every tensor that is named is there; only an operand that is left out has no number (-1)."""
    given = [*interface, *(index for operator in operators for index in operator.outputs)]
    optional = [index for operator in operators for index in operator.inputs]
    if any(not 0 <= index < count for index in given) or any(
        not -1 <= index < count for index in optional
    ):
        raise ValueError(f"it names a tensor beyond its {count}")


def _metadata(model: Any) -> dict[str, str]:
    """Entries that are text; others are told by their size."""
    found = {"description": _text(model.description)} if model.description else {}
    for entry in model.metadata or ():
        content = bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8))
        text = content.rstrip(b"\0").decode("utf-8", "replace")
        printable = text.isprintable() or "\n" in text
        found[_text(entry.name)] = text if printable else f"{len(content)} bytes"
    return found


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
    # Weights that are stored sparsely are not laid out.
    if raw is not None and len(raw) and dtype is not None and entry.sparsity is None:
        data = np.asarray(raw, np.uint8).view(dtype).reshape(shape)
    signature = _ints(entry.shapeSignature) or shape
    kind = dtype.name if dtype is not None else _TYPES.get(entry.type, "unknown").lower()
    return FileTensor(
        _text(entry.name), shape, dtype, scale, zero_point, axis, data, signature, kind
    )


def _operator(entry: Any, model: Any) -> FileOperator:
    code = model.operatorCodes[entry.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return FileOperator(
        _CODES[number], int(code.version), _ints(entry.inputs), _ints(entry.outputs)
    )
