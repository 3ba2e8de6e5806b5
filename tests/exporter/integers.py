"""The integers of weights in shipped files."""

from __future__ import annotations

from collections.abc import Iterator

import networks
import numpy as np

from exporter.graph.model import Array
from exporter.graph.read import read_file
from exporter.tflite.reader import read_tflite


def tflite_weights(made: networks.Made) -> Iterator[tuple[str, Array]]:
    """Names and integers [out, ..., in] of the layers in the .tflite file."""
    file = read_tflite(made.tflite)
    for operator in file.operators:
        if operator.code in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensor = file.tensors[operator.inputs[1]]
            data = tensor.data if tensor.axis == 0 else np.moveaxis(tensor.data, tensor.axis, 0)
            yield tensor.name, data


def onnx_weights(made: networks.Made) -> Iterator[tuple[str, Array]]:
    """Names and integers [out, ..., in] of the layers in the .onnx file."""
    graph = read_file(made.onnx)
    for operator in graph.operators:
        if operator.kind in ("Conv", "Gemm"):
            tensor = graph.tensors[operator.inputs[1]]
            yield tensor.name, np.moveaxis(tensor.data, 1, -1)


def weights_of(made: networks.Made, form: str) -> list[tuple[str, Array]]:
    """Those of the form "tflite" or "onnx", without biases."""
    found = list(tflite_weights(made) if form == "tflite" else onnx_weights(made))
    return [(name, data) for name, data in found if "weight" in name]
