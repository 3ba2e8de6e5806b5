"""What a shipped file says of itself: labels, normalisation, the scales of its outputs.

In an .onnx or .ort file: a property for each field of `Metadata` in the model's metadata, as JSON
(`session.get_modelmeta().custom_metadata_map`). In a .tflite file: one entry of the schema's
`Model.metadata`, called `edgewright`, whose buffer is the whole document as JSON. TensorFlow Lite's
own metadata schema is part of a support library that no maintained package brings; its readers pass
the entry by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import onnx_ir as ir

from exporter.build import SCHEMA_VERSION, Frozen
from exporter.graph.model import Graph
from exporter.inputs import InputSpec

TFLITE_ENTRY = "edgewright"


class InputMeaning(Frozen):
    """An input of frames: the file itself computes (frame / 255 - mean) / std.

    For int8 frames (uint8 - 128) as well; empty lists are for floats as the network takes them.
    """

    dtype: Literal["uint8", "int8", "float32"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class OutputMeaning(Frozen):
    """Real value = scale * (integer - zero_point) for int8, 128 more for the uint8 of an .onnx."""

    name: str
    scale: float | None = None
    zero_point: int | None = None


class Metadata(Frozen):
    """The document."""

    schema_version: Literal[1] = SCHEMA_VERSION
    input: InputMeaning
    outputs: tuple[OutputMeaning, ...]
    labels: tuple[str, ...] = ()

    def text(self) -> str:
        """One line of JSON."""
        return self.model_dump_json(exclude_none=True)

    def write_to(self, model: ir.Model) -> None:
        """Put a property for each field into an ONNX model."""
        for key, value in self.model_dump(mode="json", exclude_none=True).items():
            model.metadata_props[key] = json.dumps(value)


def describe(spec: InputSpec, graph: Graph, labels: Sequence[str]) -> Metadata:
    """The metadata of a file that is lowered from `graph`."""
    outputs = []
    for name in graph.outputs:
        quantization = graph.tensors[name].quantization
        scale = None if quantization is None else float(quantization.scale)
        zero_point = None if quantization is None else quantization.zero_point
        outputs.append(OutputMeaning(name=name, scale=scale, zero_point=zero_point))
    return Metadata(
        input=InputMeaning(dtype=spec.dtype, mean=spec.mean, std=spec.std),
        outputs=tuple(outputs),
        labels=tuple(labels),
    )
