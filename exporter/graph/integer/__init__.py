"""The integer reference: a canonical graph executed in numpy, one operator a function.

Products are summed exactly and requantized as both runtimes do it: float32 scale, round half to
even. What they compute in float is computed in float64 here and rounded once. It is slow, and the
oracle for tests and for `edgewright verify --layers`.
"""

from exporter.graph.integer import convolution, functions, moves, reductions
from exporter.graph.integer.executor import kinds, run

__all__ = ["convolution", "functions", "kinds", "moves", "reductions", "run"]
