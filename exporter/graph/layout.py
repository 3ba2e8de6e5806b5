"""Which tensors are images, whose axes TFLite has in another order.

An image is [N, C, H, W] in ONNX and [N, H, W, C] in TFLite. Convolutions, pooling and resizing read
and give images; operators that work value by value, join or cut give what they read; a reshape or
transpose may turn the one into the other. Every other tensor has the same axes in both.
"""

from __future__ import annotations

from exporter.graph.model import Graph, Operator

SPATIAL = {
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "InstanceNormalization",
    "LRN",
    "MaxPool",
    "Resize",
    "SpaceToDepth",
}
REARRANGING = {"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
NHWC_OF_NCHW = (0, 2, 3, 1)
PLAIN = "plain"
"""The layout of a graph input of rank 4 that is no image."""


def image_tensors(graph: Graph) -> frozenset[str]:
    """The names of the tensors that are images."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    images = {name for name in graph.inputs if graph.tensors[name].layout == "NHWC"}
    images |= {
        name
        for name in graph.inputs
        if len(graph.tensors[name].shape) == 4 and graph.tensors[name].layout != PLAIN
    }
    for operator in graph.operators:
        values = _values(graph, operator)
        if operator.kind in SPATIAL:
            images.update(values)
        elif operator.kind not in REARRANGING:
            for name in values[1:]:
                parent[find(name)] = find(values[0])
    roots = {find(name) for name in images}
    return frozenset(name for name in list(parent) + list(images) if find(name) in roots)


def _values(graph: Graph, operator: Operator) -> list[str]:
    """The tensors of rank 4 that an operator computes with; constants take the others' axes."""
    names = [name for name in (*operator.inputs, *operator.outputs) if name]
    return [
        name
        for name in names
        if len(graph.tensors[name].shape) == 4 and graph.tensors[name].data is None
    ]
