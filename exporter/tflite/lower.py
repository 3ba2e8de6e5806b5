"""Lower a graph, canonical or float, to TFLite: NHWC throughout, no TRANSPOSE added."""

from __future__ import annotations

from pathlib import Path

from exporter.build import write_bytes
from exporter.errors import UnsupportedError
from exporter.graph.model import Graph
from exporter.graph.read import read_file
from exporter.tflite import ops  # noqa: F401 - registers every lowering
from exporter.tflite.context import Lowering
from exporter.tflite.registry import kinds, lowering_of


def lower(graph: Graph) -> bytes:
    """The .tflite file of a graph, as bytes.

    Raises:
        UnsupportedError: an operator that has no TFLite form: node, reason, remedy.
    """
    lowering = Lowering(graph)
    inputs = [lowering.index(graph.tensors[name]) for name in graph.inputs]
    for operator in graph.operators:
        function = lowering_of(operator.kind)
        if function is None:
            raise UnsupportedError(
                operator.name,
                operator.kind,
                "it has no TFLite lowering",
                f"use operators among: {', '.join(kinds())}",
            )
        function(lowering, operator)
    outputs = [lowering.index(graph.tensors[name]) for name in graph.outputs]
    return lowering.writer.finish(inputs, outputs)


def lower_file(source: Path, target: Path) -> None:
    """Lower an ONNX file (canonical QDQ, or float) to a .tflite file, whole or not at all."""
    write_bytes(target, lower(read_file(source)))
