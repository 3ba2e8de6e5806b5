"""Where a .onnx file (a protobuf) keeps its initializers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter.pack.protobuf import Message
from exporter.pack.spans import Kind, Located, channels_first

# Numbers of the fields in onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_TENSOR = 1, 3, 5
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_FLOATS, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 4, 8, 9
_KINDS: Final[dict[int, tuple[int, Kind]]] = {  # TensorProto.DataType of onnx.proto
    1: (4, "floats"),
    2: (1, "weights"),
    3: (1, "weights"),
    6: (4, "biases"),
    10: (2, "floats"),
}


def onnx_spans(data: bytes) -> Iterator[Located]:
    """The graph's initializers and the tensors of its constant nodes."""
    for graph in Message(data, 0, len(data)).messages(_MODEL_GRAPH):
        nodes = list(graph.messages(_GRAPH_NODE))
        initializers = list(graph.messages(_GRAPH_INITIALIZER))
        axes = _channel_axes(nodes, initializers)
        attributes = [one for node in nodes for one in node.messages(_NODE_ATTRIBUTE)]
        constants = [one for item in attributes for one in item.messages(_ATTRIBUTE_TENSOR)]
        for tensor in (*constants, *initializers):
            yield from _span(tensor, axes)


def _span(tensor: Message, axes: dict[str, int]) -> Iterator[Located]:
    data_type = tensor.number(_TENSOR_DATA_TYPE)
    contents = [*tensor.messages(_TENSOR_RAW_DATA), *tensor.messages(_TENSOR_FLOATS)]
    if data_type not in _KINDS or len(contents) != 1:
        return
    shape = tuple(tensor.numbers(_TENSOR_DIMS)) or (1,)
    item_bytes, kind = _KINDS[data_type]
    axis = axes.get(tensor.text(_TENSOR_NAME), 0)
    order = channels_first(min(axis, len(shape) - 1), len(shape))
    span = Located(contents[0].begin, shape, order, item_bytes, kind)
    if span.size_bytes == contents[0].end - contents[0].begin:
        yield span


def _channel_axes(nodes: list[Message], initializers: list[Message]) -> dict[str, int]:
    """The output channels' axis of each initializer that is not its first one."""
    # A per-tensor DequantizeLinear has the attribute's default, 1, which says nothing.
    per_channel = {one.text(_TENSOR_NAME) for one in initializers if one.numbers(_TENSOR_DIMS)}
    axes = {}
    for node in nodes:
        if node.text(_NODE_OP_TYPE) != "DequantizeLinear":
            continue
        inputs = [node.data[one.begin : one.end].decode() for one in node.messages(_NODE_INPUT)]
        axis = next(
            (
                one.number(_ATTRIBUTE_INTEGER)
                for one in node.messages(_NODE_ATTRIBUTE)
                if one.text(_ATTRIBUTE_NAME) == "axis"
            ),
            1,
        )
        if axis > 0 and len(inputs) > 1 and inputs[1] in per_channel:
            axes[inputs[0]] = axis
    return axes
