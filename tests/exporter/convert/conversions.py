"""Small quantized models converted, and what their forms have in common."""

from __future__ import annotations

import numpy as np
from onnx_models import random_integers, save, value, weights

from exporter.convert import IN_ONNX, IN_TFLITE, Wishes, convert

X = [1, 3, 8, 8]


def run(graph, tmp_path, outputs, inputs=None, wishes=None, target="out.tflite", opset=20):
    made = graph.model(inputs or [value("x", X)], outputs, opset)
    source = save(made, tmp_path / "in.onnx")
    return convert(source, tmp_path / target, wishes or Wishes())


def agree(conversion, lsb=0):
    """Every form ran and gives the same, within `lsb` steps of the output."""
    assert len(conversion.differences) == 3, conversion.notes
    assert all(
        (row.max_lsb is None and row.max_relative < 1e-5) or round(row.max_lsb) <= lsb
        for row in conversion.differences
    ), conversion.differences


BOTH = {IN_ONNX, IN_TFLITE}


def left_in_float(conversion):
    return {entry.node for entry in conversion.in_float if not entry.by_design}


def convolution(graph, source, name="conv", channels=3, out=4, bias=True, kind=np.int8):
    """A convolution on a quantized value, with its weight in integers and its bias in float."""
    weight = random_integers(out, channels, 3, 3, seed=len(name))
    point = 0
    if kind == np.uint8:
        weight, point = (weight.astype(np.int16) + 128).astype(np.uint8), 128
    scale = np.linspace(0.002, 0.004, out)
    w = graph.integers(f"{name}_w", weight, scale, point, axis=0)
    inputs = [source, w]
    if bias:
        inputs.append(graph.constant(f"{name}_b", weights(out, seed=3)))
    return graph.node("Conv", inputs, name, pads=[1, 1, 1, 1])
