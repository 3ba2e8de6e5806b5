"""An .onnx file's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from exporter.build import sha256_of
from exporter.graph.intake import parse_onnx, refusing
from exporter.graph.model import Array
from exporter.inspection.nodes import Known, Layers, Node
from exporter.inspection.report import ModelReport


def inspect_onnx(path: Path) -> ModelReport:
    """The main graph, node by node; shapes are inferred where the file does not tell them.

    Raises:
        ModelError: it is damaged or contradicts itself.
    """
    proto = parse_onnx(path)
    with refusing("the inference of its shapes", path):
        values = _values(proto)
    with refusing("the reading of its graph", path):
        nodes = [
            Node(node.name, node.op_type, tuple(node.input), tuple(node.output))
            for node in proto.graph.node
        ]
        layers = Layers(nodes, _constants(proto.graph), values)
        held = {tensor.name for tensor in proto.graph.initializer}
        return ModelReport(
            path=str(path),
            format="onnx",
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            inputs=tuple(layers.value(v.name) for v in proto.graph.input if v.name not in held),
            outputs=tuple(layers.value(value.name) for value in proto.graph.output),
            layers=layers.rows(),
            metadata={entry.key: entry.value for entry in proto.metadata_props},
        )


def _values(proto: Any) -> dict[str, Known]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(proto).graph
    return {value.name: _known(value) for value in (*graph.input, *graph.value_info, *graph.output)}


def _known(value: Any) -> Known:
    from onnx import helper

    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim
        )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name if kind.elem_type else ""
    return Known(shape, dtype)


def _constants(graph: Any) -> dict[str, Array]:
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = numpy_helper.to_array(attribute.t)
    return found
