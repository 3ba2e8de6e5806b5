"""The pair rule: which weights every x86 CPU multiplies exactly.

ONNX Runtime's kernels add products of u8 and s8 in pairs, within 16 bits, on CPUs that have AVX2 or
AVX-512 and no VNNI (Intel's vpmaddubsw, which saturates). Activations go up to 255 and 255 * 128 is
the largest product that fits, so no two adjacent weights of one sign may sum to more than 128.
"""

from __future__ import annotations

import numpy as np

from exporter.graph.islands import is_float_layer
from exporter.graph.model import Array, Graph, Operator

PAIR_MAX = 128


def largest_pairs(weight: Array) -> Array:
    """For each output channel, the largest sum of two adjacent weights of one sign.

    Args:
        weight: [out, in, kh, kw] or [out, in]; integers or real numbers.

    Returns:
        [out], as magnitudes. Adjacent in both memory orders that kernels use: OIHW and OHWI.
    """
    orders = [weight.reshape(len(weight), -1)]
    if weight.ndim == 4:
        orders.append(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1))
    wide = np.int32 if weight.dtype.kind in "iu" else weight.dtype
    largest = np.zeros(len(weight), wide)
    for order in orders:
        padded = np.pad(order.astype(wide), ((0, 0), (0, order.shape[1] % 2)))
        pairs = padded.reshape(len(order), -1, 2)
        for sign in (1, -1):
            sums = (sign * pairs).clip(min=0).sum(-1)
            largest = np.maximum(largest, sums.max(1, initial=0))
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
