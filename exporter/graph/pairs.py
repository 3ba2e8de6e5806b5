"""The pair rule: which weights every x86 CPU multiplies exactly.

ONNX Runtime's kernels add products of u8 and s8 in pairs, within 16 bits, on CPUs that have AVX2 or
AVX-512 and no VNNI (Intel's vpmaddubsw, which saturates). Activations go up to 255 and 255 * 128 is
the largest product that fits, so no two adjacent weights of one sign may sum to more than 128.

Adjacent in the order in which the kernels add: of a convolution along the input channels, then on
to the next place of its window (OHWI), whatever order the file stores them in. What is adjacent in
a row of the window alone never meets (tests/exporter/test_saturation.py).
"""

from __future__ import annotations

import numpy as np

from exporter.graph.islands import is_float_layer
from exporter.graph.model import Array, Graph, Operator

PAIR_MAX = 128


def largest_pairs(weight: Array) -> Array:
    """For each output channel, the largest sum of two adjacent weights of one sign.

    Args:
        weight: [out, in, ...]; integers or real numbers.

    Returns:
        [out], as magnitudes.
    """
    rows = np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    wide = np.int32 if weight.dtype.kind in "iu" else weight.dtype
    padded = np.pad(rows.astype(wide), ((0, 0), (0, rows.shape[1] % 2)))
    pairs = padded.reshape(len(rows), -1, 2)
    sums = [(sign * pairs).clip(min=0).sum(-1).max(1, initial=0) for sign in (1, -1)]
    largest: Array = np.maximum(*sums)
    return largest


def summed_in_pairs(graph: Graph) -> list[tuple[Operator, Array]]:
    """Operators whose products are added in pairs, with their weights.

    All but depthwise ones, and those of int16 values, which ONNX Runtime computes in float.
    """
    found = []
    for operator in graph.operators:
        if operator.kind not in ("Conv", "Gemm") or is_float_layer(graph, operator):
            continue
        if graph.in_int16(operator):
            continue
        weight = graph.tensors[operator.inputs[1]].data
        groups = int(operator.attributes.get("group", 1))
        depthwise = groups > 1 and groups == graph.tensors[operator.inputs[0]].shape[1]
        if weight is not None and weight.dtype == np.int8 and not depthwise:
            found.append((operator, weight))
    return found
