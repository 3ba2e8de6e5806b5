"""A .ort file's report: ONNX Runtime's flatbuffer, read with the schema that it ships."""

from __future__ import annotations

import graphlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exporter.build import sha256_of
from exporter.errors import ModelError
from exporter.graph.model import Array
from exporter.inspection.nodes import Known, Layers, Node
from exporter.inspection.report import ModelReport

_TYPES: dict[int, np.dtype[Any]] = {  # TensorDataType of ort.fbs
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
}


def inspect_ort(path: Path) -> ModelReport:
    """The main graph, node by node.

    Raises:
        ModelError: it is damaged, or of a version that the installed ONNX Runtime does not know.
    """
    raw = path.read_bytes()
    try:
        graph, metadata = _open(raw)
        layers = Layers(
            _in_order(list(_nodes(graph))), dict(_constants(graph, raw)), dict(_values(graph))
        )
        inputs = [_text(graph.Inputs(index)) for index in range(graph.InputsLength())]
        outputs = [_text(graph.Outputs(index)) for index in range(graph.OutputsLength())]
        return ModelReport(
            path=str(path),
            format="ort",
            bytes=len(raw),
            sha256=sha256_of(path),
            inputs=tuple(layers.value(name) for name in inputs if name not in layers.constants),
            outputs=tuple(layers.value(name) for name in outputs),
            layers=layers.rows(),
            metadata=metadata,
        )
    except ModelError:
        raise
    except Exception as error:  # the schema's reader trusts offsets and raises whatever comes
        raise ModelError(
            f"{path} is damaged",
            expected="a .ort file, whole",
            found=f"{type(error).__name__}: {error}",
            remedy="get the file again: it may be cut off",
        ) from None


def _open(raw: bytes) -> tuple[Any, dict[str, str]]:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import (
        InferenceSession,
    )

    model = InferenceSession.GetRootAs(raw, 0).Model()
    graph = model.Graph()
    # Each entry has four bytes at the least: more of them than that are entries within each other.
    entries = graph.NodesLength() + graph.NodeArgsLength() + graph.InitializersLength()
    if 4 * entries > len(raw):
        raise ValueError(f"{entries} entries in {len(raw)} bytes")
    metadata = {"producer": f"{_text(model.ProducerName())} {_text(model.ProducerVersion())}"}
    for entry in map(model.MetadataProps, range(model.MetadataPropsLength())):
        metadata[_text(entry.Key())] = _text(entry.Value())
    return graph, metadata


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _nodes(graph: Any) -> Iterator[Node]:
    for node in map(graph.Nodes, range(graph.NodesLength())):
        inputs = tuple(_text(node.Inputs(index)) for index in range(node.InputsLength()))
        outputs = tuple(_text(node.Outputs(index)) for index in range(node.OutputsLength()))
        yield Node(_text(node.Name()), _text(node.OpType()), inputs, outputs)


def _in_order(nodes: list[Node]) -> list[Node]:
    """Producers before readers: the file has nodes in the order in which they were made."""
    place = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    before = {
        index: {place[name] for name in node.inputs if name in place}
        for index, node in enumerate(nodes)
    }
    return [nodes[index] for index in graphlib.TopologicalSorter(before).static_order()]


def _constants(graph: Any, raw: bytes) -> Iterator[tuple[str, Array]]:
    for tensor in map(graph.Initializers, range(graph.InitializersLength())):
        dtype = _TYPES.get(tensor.DataType())
        if dtype is None or tensor.RawDataIsNone():
            continue
        shape = tuple(map(tensor.Dims, range(tensor.DimsLength())))
        content: Any = tensor.RawDataAsNumpy()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError(f"'{_text(tensor.Name())}' has {len(content)} bytes for {shape}")
        yield _text(tensor.Name()), content.view(dtype).reshape(shape)


def _values(graph: Any) -> Iterator[tuple[str, Known]]:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import (
        TensorTypeAndShape,
    )

    for value in map(graph.NodeArgs, range(graph.NodeArgsLength())):
        kind = value.Type()
        union = None if kind is None else kind.Value()
        if union is None:
            continue
        tensor = TensorTypeAndShape()
        tensor.Init(union.Bytes, union.Pos)
        dtype = _TYPES.get(tensor.ElemType())
        yield (
            _text(value.Name()),
            Known(_shape(tensor.Shape()), "" if dtype is None else dtype.name),
        )


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape is None:
        return None
    sizes = []
    for size in map(shape.Dim, range(shape.DimLength())):
        value = size.Value()
        known = value is not None and value.DimType() == 1  # DimensionValueType.VALUE of ort.fbs
        sizes.append(int(value.DimValue()) if known else None)
    return tuple(sizes)
