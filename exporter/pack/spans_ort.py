"""Where a .ort file (ONNX Runtime's flatbuffer) keeps its initializers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flatbuffers.number_types import Int64Flags

from exporter.pack.flat import Flat
from exporter.pack.spans import Kind, Located

# Places of the fields in ort.fbs.
_SESSION_MODEL, _MODEL_GRAPH, _GRAPH_INITIALIZERS = 1, 7, 0
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_RAW_DATA = 2, 3, 4
_KINDS: Final[dict[int, tuple[int, Kind]]] = {  # TensorDataType of ort.fbs
    1: (4, "floats"),
    2: (1, "weights"),
    3: (1, "weights"),
    6: (4, "biases"),
    10: (2, "floats"),
}


def ort_spans(data: bytes) -> Iterator[Located]:
    """The main graph's initializers; convolution weights lie as [out, in, kh, kw] already."""
    model = Flat.root(data).table(_SESSION_MODEL)
    graph = model.table(_MODEL_GRAPH) if model else None
    for tensor in graph.tables(_GRAPH_INITIALIZERS) if graph else ():
        offset, size_bytes = tensor.vector(_TENSOR_RAW_DATA)
        data_type = tensor.integer(_TENSOR_DATA_TYPE)
        if data_type not in _KINDS or not size_bytes:
            continue
        shape = tensor.integers(_TENSOR_DIMS, Int64Flags) or (1,)
        item_bytes, kind = _KINDS[data_type]
        span = Located(offset, shape, tuple(range(len(shape))), item_bytes, kind)
        if span.size_bytes == size_bytes:
            yield span
