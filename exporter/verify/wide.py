"""How far LiteRT's int16 kernels may be from real numbers, rounded once: by operator.

ONNX Runtime has no int16 convolution: it computes in float between DequantizeLinear and
QuantizeLinear, and LiteRT in fixed point. They cannot be equal bit for bit, so a bound by operator
takes that rule's place.
"""

from __future__ import annotations

from collections.abc import Mapping

BOUNDS: Mapping[str, int] = {"Sigmoid": 6, "Tanh": 12}
"""Measured over every int16 input (`tests/exporter/ops/test_wide.py`). They err so far at scales of
2**-12 and 2**-11 alone, which LiteRT's kernels take an older way for; else by 1 and 3."""
DEFAULT_BOUND = 1


def bound_of(kind: str) -> int:
    """Steps of int16 by which an operator's result may differ from the reference's."""
    return BOUNDS.get(kind, DEFAULT_BOUND)
