"""Rewrites of an ONNX graph, one a file. Each returns whether it changed anything."""

from exporter.graph.passes.clean import clean
from exporter.graph.passes.frame_input import frame_input
from exporter.graph.passes.integer_bias import integer_bias
from exporter.graph.passes.integer_output import integer_output

__all__ = ["clean", "frame_input", "integer_bias", "integer_output"]
