"""Where a .onnx file (a protobuf) keeps its initializers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from exporter.pack.numbers import varint
from exporter.pack.spans import Kind, Located, channels_first

# Keys of TensorProto's fields on the wire: field number << 3 | 2 (length-delimited).
_RAW_DATA: Final = bytes([9 << 3 | 2])
_FLOAT_DATA: Final = bytes([4 << 3 | 2])


def onnx_spans(data: bytes) -> Iterator[Located]:
    """The graph's initializers and constant nodes, found again in the serialized bytes.

    Protobuf tells no offsets. But it writes an array as key, length and content, and the
    tensors in their order, so each is searched from where the one before it ended.
    """
    import onnx
    from google.protobuf.message import DecodeError

    kinds: dict[int, tuple[int, Kind]] = {
        onnx.TensorProto.INT8: (1, "weights"),
        onnx.TensorProto.UINT8: (1, "weights"),
        onnx.TensorProto.INT32: (4, "biases"),
        onnx.TensorProto.FLOAT16: (2, "floats"),
        onnx.TensorProto.FLOAT: (4, "floats"),
    }
    try:
        graph = onnx.load_model_from_string(data).graph
    except DecodeError as error:
        raise ValueError("no ONNX model") from error
    axes = _channel_axes(graph)
    at = 0
    for tensor in _tensors(graph):
        key, content = _content(tensor)
        if tensor.data_type not in kinds or not content:
            continue
        marker = key + varint(len(content))
        found = data.find(marker + content, at)
        if found < 0:
            continue
        offset = found + len(marker)
        at = offset + len(content)
        shape = tuple(tensor.dims) or (1,)
        item_bytes, kind = kinds[tensor.data_type]
        order = channels_first(min(axes.get(tensor.name, 0), len(shape) - 1), len(shape))
        span = Located(offset, shape, order, item_bytes, kind)
        if span.size_bytes == len(content):
            yield span


def _tensors(graph: Any) -> Iterator[Any]:
    """Constants in the order in which they lie in the file: those of nodes, then initializers."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
    yield from graph.initializer


def _content(tensor: Any) -> tuple[bytes, bytes]:
    """The key under which a tensor's bytes lie in the file, and those bytes."""
    if tensor.raw_data:
        return _RAW_DATA, tensor.raw_data
    if tensor.float_data:
        import numpy as np

        return _FLOAT_DATA, np.asarray(tensor.float_data, "<f4").tobytes()
    return b"", b""


def _channel_axes(graph: Any) -> dict[str, int]:
    """The output channels' axis of each initializer that is not its first one."""
    axes = {}
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
            if axis > 0:
                axes[node.input[0]] = axis
    # A per-tensor DequantizeLinear has the attribute's default, 1, which says nothing.
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    scales = {
        node.input[0]: node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"
    }
    return {name: axis for name, axis in axes.items() if ranks.get(scales.get(name, ""), 0) > 0}
