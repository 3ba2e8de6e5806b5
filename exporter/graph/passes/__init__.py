"""Rewrites of an ONNX graph, one a file. Each returns whether it changed anything."""

from exporter.graph.passes.clean import clean
from exporter.graph.passes.frame_input import frame_input
from exporter.graph.passes.integer_bias import integer_bias
from exporter.graph.passes.integer_output import integer_output
from exporter.graph.passes.pool_padding import pool_padding
from exporter.graph.passes.quantized_constants import quantized_constants
from exporter.graph.passes.wide_opset import wide_opset

__all__ = [
    "clean",
    "frame_input",
    "integer_bias",
    "integer_output",
    "pool_padding",
    "quantized_constants",
    "wide_opset",
]
