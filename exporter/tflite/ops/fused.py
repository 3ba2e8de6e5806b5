"""Names of fused activations in TFLite's schema."""

from __future__ import annotations

from exporter.graph.model import Operator

_NAMES = {"": "NONE", "Relu": "RELU", "Relu6": "RELU6"}


def fused(operator: Operator) -> str:
    """The schema's name of the activation behind an operator."""
    return _NAMES[operator.activation]
