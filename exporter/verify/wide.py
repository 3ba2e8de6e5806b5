"""How far LiteRT's int16 kernels may be from real numbers, rounded once: by operator.

ONNX Runtime has no int16 convolution: it computes in float between DequantizeLinear and
QuantizeLinear, and LiteRT in fixed point. They cannot be equal bit for bit, so a bound by operator
takes that rule's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from exporter.build import GOLDEN, CheckResult
from exporter.graph import integer
from exporter.graph.model import Graph
from exporter.verify.layers import alone, as_given
from exporter.verify.scales import result
from runtimes.values import load_arrays

BOUNDS: Mapping[str, int] = {"Sigmoid": 6, "Tanh": 12}
"""Measured over every int16 input (`tests/exporter/ops/test_wide.py`). They err so far at scales of
2**-12 and 2**-11 alone, which LiteRT's kernels take an older way for; else by 1 and 3."""
DEFAULT_BOUND = 1
SAMPLES = 4


def bound_of(kind: str) -> int:
    """Steps of int16 by which an operator's result may differ from the reference's."""
    return BOUNDS.get(kind, DEFAULT_BOUND)


def operators_alone(directory: Path, graph: Graph, samples: int = SAMPLES) -> CheckResult:
    """Each int16 operator in LiteRT, given the reference's integers, is within its bound.

    Args:
        directory: a build directory with golden inputs.
        graph: its canonical graph.
        samples: how many of the golden inputs.
    """
    frames = load_arrays(str(directory / GOLDEN))["input.0"][:samples]
    expected = integer.run(graph, [as_given(graph, frames)])
    largest: dict[str, int] = {}
    faults, compared = [], 0
    for operator in filter(graph.in_int16, graph.operators):
        difference = alone(graph, operator, expected)
        if difference is None:
            continue
        compared += 1
        largest[operator.kind] = max(largest.get(operator.kind, 0), difference.max_lsb)
        if difference.max_lsb > bound_of(operator.kind):
            faults.append(
                f"{operator.kind} '{operator.name}' differs by {difference.max_lsb} LSB, "
                f"over its bound of {bound_of(operator.kind)}"
            )
    found = ", ".join(
        f"{kind} {lsb} of {bound_of(kind)}" for kind, lsb in sorted(largest.items()) if lsb
    )
    what = "operators in LiteRT, from equal integers"
    what += f"; LSB of the LSB allowed: {found}" if found else ", all equal to the reference"
    return result("int16 operators within their bounds", compared, faults, what)
