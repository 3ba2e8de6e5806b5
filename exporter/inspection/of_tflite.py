"""A .tflite file's report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exporter.build import sha256_of
from exporter.inspection.report import LayerReport, ModelReport, ValueReport, weight_report
from exporter.tflite.reader import FileOperator, FileTensor, TfliteFile, read_tflite

_WEIGHTS = (np.int8, np.uint8, np.int16, np.float16, np.float32)
OPEN_SIZE = -1


def inspect_tflite(path: Path) -> ModelReport:
    """The first subgraph, operator by operator.

    Raises:
        ModelError: no TFLite file, or a damaged one.
    """
    file = read_tflite(path)
    more = file.subgraphs - 1
    return ModelReport(
        path=str(path),
        format="tflite",
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        inputs=tuple(_value(file.tensors[index]) for index in file.inputs),
        outputs=tuple(_value(file.tensors[index]) for index in file.outputs),
        layers=tuple(_layer(file, operator) for operator in file.operators),
        metadata=file.metadata,
        notes=(f"{more} more subgraphs are not shown",) if more else (),
    )


def _layer(file: TfliteFile, operator: FileOperator) -> LayerReport:
    operands = [file.tensors[index] for index in operator.inputs if index >= 0]
    constants = [tensor for tensor in operands if tensor.data is not None]
    weights = [tensor for tensor in constants if tensor.dtype in _WEIGHTS and _size(tensor) > 1]
    weight = max(weights, key=_size, default=None)
    outputs = tuple(_value(file.tensors[index]) for index in operator.outputs)
    return LayerReport(
        name=outputs[0].name if outputs else "",
        operator=operator.code,
        inputs=tuple(_value(tensor) for tensor in operands if tensor.data is None),
        outputs=outputs,
        weight=None
        if weight is None or weight.data is None
        else weight_report(weight.name, weight.data, weight.scale, weight.zero_point),
        constant_bytes=sum(0 if one.data is None else one.data.nbytes for one in constants),
    )


def _size(tensor: FileTensor) -> int:
    return 0 if tensor.data is None else tensor.data.size


def _value(tensor: FileTensor) -> ValueReport:
    one = tensor.scale is not None and len(tensor.scale) == 1
    return ValueReport(
        name=tensor.name,
        shape=tuple(None if size == OPEN_SIZE else size for size in tensor.signature),
        dtype=tensor.type_name,
        scale=float(tensor.scale[0]) if one and tensor.scale is not None else None,
        zero_point=tensor.zero_point if one else None,
    )
