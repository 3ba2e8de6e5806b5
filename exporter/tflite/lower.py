"""Lower a graph, canonical or float, to TFLite: NHWC throughout, no TRANSPOSE added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from exporter.build import write_bytes
from exporter.errors import UnsupportedError
from exporter.graph.mixed import separate
from exporter.graph.model import Graph
from exporter.graph.read import read_file
from exporter.tflite import ops  # noqa: F401 - registers every lowering
from exporter.tflite.context import Lowering
from exporter.tflite.registry import kinds, lowering_of
from exporter.tflite.wide import NoWideKernelError
from exporter.tflite.writer import NoOptionsError


def lower(graph: Graph, metadata: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The .tflite file of a graph, as bytes.

    Args:
        graph: canonical, or float.
        metadata: text for the file's `metadata`, by name.

    Raises:
        UnsupportedError: an operator that has no TFLite form: node, reason, remedy.
    """
    if graph.float_layers:
        separate(graph)
    lowering = Lowering(graph)
    inputs = [lowering.index(graph.tensors[name]) for name in graph.inputs]
    for operator in graph.operators:
        if operator.name in lowering.done:
            continue
        function = lowering_of(operator.kind)
        if function is None:
            raise UnsupportedError(
                operator.name,
                operator.kind,
                "it has no TFLite lowering",
                f"use operators among: {', '.join(kinds())}",
            )
        try:
            function(lowering, operator)
        except NoWideKernelError as error:
            raise lowering.refuse(
                operator,
                f"LiteRT has no int16 kernel of {error.code}",
                "replace it in the model, or leave the activations, or the layer it reads, in int8",
            ) from None
        except NoOptionsError as error:
            raise lowering.refuse(
                operator,
                str(error),
                f'name the schema\'s table of {error.code} there, or "" where it has none',
            ) from None
    outputs = [lowering.index(graph.tensors[name]) for name in graph.outputs]
    for index in (*inputs, *outputs) if lowering.open_batch else ():
        lowering.writer.leave_batch_open(index)
    for name, text in metadata.items():
        lowering.writer.metadata(name, text.encode())
    return lowering.writer.finish(inputs, outputs)


def lower_file(
    source: Path, target: Path, metadata: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Lower an ONNX file (canonical QDQ, or float) to a .tflite file, whole or not at all."""
    write_bytes(target, lower(read_file(source), metadata))
