"""Where a .ort file (ONNX Runtime's flatbuffer) keeps its initializers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter.pack.spans import Kind, Located

_RAW_DATA: Final = 12  # the field's offset into a Tensor's vtable, from ort.fbs
_KINDS: Final[dict[int, tuple[int, Kind]]] = {  # TensorDataType of ort.fbs
    1: (4, "floats"),
    2: (1, "weights"),
    3: (1, "weights"),
    6: (4, "biases"),
    10: (2, "floats"),
}


def ort_spans(data: bytes) -> Iterator[Located]:
    """The main graph's initializers; convolution weights lie as [out, in, kh, kw] already."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import (
        InferenceSession,
    )

    graph = InferenceSession.GetRootAs(data, 0).Model().Graph()
    for tensor in map(graph.Initializers, range(graph.InitializersLength())):
        if tensor.DataType() not in _KINDS or tensor.RawDataIsNone():
            continue
        offset = tensor._tab.Vector(tensor._tab.Offset(_RAW_DATA))
        shape = tuple(map(tensor.Dims, range(tensor.DimsLength()))) or (1,)
        item_bytes, kind = _KINDS[tensor.DataType()]
        span = Located(offset, shape, tuple(range(len(shape))), item_bytes, kind)
        if span.size_bytes == tensor.RawDataLength():
            yield span
