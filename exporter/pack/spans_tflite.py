"""Where a .tflite file (a flatbuffer) keeps its weights, biases and scales."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from exporter.pack.spans import Kind, Located, channels_first

# Field numbers of schema.fbs as offsets into a flatbuffer's vtable: 4 + 2 * the field's place.
_BUFFER_DATA = 4
_QUANTIZATION_SCALE = 8


def tflite_spans(data: bytes) -> Iterator[Located]:
    """The constant tensors of all subgraphs, and the scale vectors of all tensors."""
    from ai_edge_litert import schema_py_generated as schema

    kinds: dict[int, tuple[int, Kind]] = {
        schema.TensorType.INT8: (1, "weights"),
        schema.TensorType.UINT8: (1, "weights"),
        schema.TensorType.INT32: (4, "biases"),
        schema.TensorType.FLOAT16: (2, "floats"),
        schema.TensorType.FLOAT32: (4, "floats"),
    }
    model = schema.Model.GetRootAs(data, 0)
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            quantization = tensor.Quantization()
            if quantization is not None and quantization.ScaleLength():
                at = _vector(quantization, _QUANTIZATION_SCALE)
                yield Located(at, (quantization.ScaleLength(),), (0,), 4, "floats")
            if tensor.Type() not in kinds:
                continue
            item_bytes, kind = kinds[tensor.Type()]
            shape = tuple(map(tensor.Shape, range(tensor.ShapeLength())))
            offset, size_bytes = _content(model.Buffers(tensor.Buffer()))
            if shape and math.prod(shape) * item_bytes == size_bytes:
                axis = quantization.QuantizedDimension() if quantization is not None else 0
                yield Located(offset, shape, _order(shape, axis), item_bytes, kind)


def _content(buffer: Any) -> tuple[int, int]:
    """A buffer's offset in the file and its length, both in bytes."""
    if buffer.Offset() > 1:  # a file above 2 GB keeps its buffers behind the flatbuffer
        return int(buffer.Offset()), int(buffer.Size())
    if not buffer.DataLength():
        return 0, 0
    return _vector(buffer, _BUFFER_DATA), int(buffer.DataLength())


def _vector(table: Any, field: int) -> int:
    """Offset in the file of a table's vector; the generated accessors only give its items."""
    return int(table._tab.Vector(table._tab.Offset(field)))


def _order(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """[out, in, kh, kw] of convolution weights that lie as OHWI, or as 1HWO for depthwise."""
    if len(shape) == 4 and axis != 3 and shape[0] != 1:
        return (0, 3, 1, 2)
    if len(shape) == 4:
        return (3, 0, 1, 2)
    return channels_first(min(axis, len(shape) - 1), len(shape))
