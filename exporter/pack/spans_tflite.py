"""Where a .tflite file (a flatbuffer) keeps its weights, biases and scales."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from flatbuffers.number_types import Int8Flags, Uint32Flags, Uint64Flags

from exporter.pack.flat import Flat
from exporter.pack.spans import Kind, Located, channels_first

# Places of the fields in TensorFlow Lite's schema.fbs.
_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS = 0
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_QUANTIZATION = 0, 1, 2, 4
_QUANTIZATION_SCALE, _QUANTIZATION_AXIS = 2, 6
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_KINDS: Final[dict[int, tuple[int, Kind]]] = {  # TensorType of schema.fbs
    0: (4, "floats"),
    1: (2, "floats"),
    2: (4, "biases"),
    3: (1, "weights"),
    9: (1, "weights"),
}


def tflite_spans(data: bytes) -> Iterator[Located]:
    """The constant tensors of all subgraphs, and the scale vectors of all tensors."""
    model = Flat.root(data)
    buffers = list(model.tables(_MODEL_BUFFERS))
    for graph in model.tables(_MODEL_SUBGRAPHS):
        for tensor in graph.tables(_SUBGRAPH_TENSORS):
            quantization = tensor.table(_TENSOR_QUANTIZATION)
            at, scales = quantization.vector(_QUANTIZATION_SCALE) if quantization else (0, 0)
            if scales:
                yield Located(at, (scales,), (0,), 4, "floats")
            tensor_type = tensor.integer(_TENSOR_TYPE, Int8Flags)
            if tensor_type not in _KINDS:
                continue
            item_bytes, kind = _KINDS[tensor_type]
            shape = tensor.integers(_TENSOR_SHAPE)
            offset, size_bytes = _content(buffers[tensor.integer(_TENSOR_BUFFER, Uint32Flags)])
            if shape and math.prod(shape) * item_bytes == size_bytes:
                axis = quantization.integer(_QUANTIZATION_AXIS) if quantization else 0
                yield Located(offset, shape, _order(shape, axis), item_bytes, kind)


def _content(buffer: Flat) -> tuple[int, int]:
    """A buffer's offset in the file and its length, both in bytes."""
    offset = buffer.integer(_BUFFER_OFFSET, Uint64Flags)
    if offset > 1:  # a file above 2 GB keeps its buffers behind the flatbuffer
        return offset, buffer.integer(_BUFFER_SIZE, Uint64Flags)
    return buffer.vector(_BUFFER_DATA)


def _order(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """[out, in, kh, kw] of convolution weights that lie as OHWI, or as 1HWO for depthwise."""
    if len(shape) == 4 and axis != 3 and shape[0] != 1:
        return (0, 3, 1, 2)
    if len(shape) == 4:
        return (3, 0, 1, 2)
    return channels_first(min(axis, len(shape) - 1), len(shape))
