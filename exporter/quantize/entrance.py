"""Scales for real numbers at the entrance, which both runtimes round to the same integers.

ONNX Runtime divides x by the scale, XNNPACK multiplies x with the scale's reciprocal, each rounded
to float32; both then round half to even. Both are monotone in x, so they agree on all of float32 if
they step from k to k + 1 at the same x for each of the 255 steps: a look at the few float32 numbers
around each tie (k + 1/2) * scale decides. A power of two always agrees, as nothing is rounded; but
so do a few in a hundred scales whose float32 has many trailing zeros, which cost less range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

Array = np.ndarray

NEIGHBOURS = 8
"""float32 numbers on either side of a tie: the quotients err by 2 of them at most."""
MANTISSA_BITS = 15
"""Of candidates: with 8 bits for k + 1/2, ties are float32 numbers themselves."""
GROWTH = 0.005
STEPS = np.arange(-256, 256)
"""Whatever the zero point, an int8 value's distance from it."""


def agreeing_scale(step: float) -> float:
    """The smallest scale from `step` on that is proven to agree; float32, up to 0.5 % larger.

    Should there be none so near, the next power of two.
    """
    for candidate in _candidates(step):
        if agrees(candidate):
            return candidate
    return 2.0 ** math.ceil(math.log2(step))


def _candidates(step: float) -> Iterator[float]:
    """Scales in ascending order that have `MANTISSA_BITS` bits."""
    unit = 2.0 ** (math.floor(math.log2(step)) + 1 - MANTISSA_BITS)
    first = math.ceil(step / unit)
    for count in range(first, max(first, math.floor(step * (1 + GROWTH) / unit)) + 1):
        yield count * unit


def agrees(scale: float) -> bool:
    """Whether x / scale and x * (1 / scale) round to the same integer for every float32 x."""
    divisor = np.float32(scale)
    if float(divisor) != scale:
        return False
    x = near_ties(scale)
    quotient = np.rint(x / divisor)
    product = np.rint(x * (np.float32(1.0) / divisor))
    return bool(np.array_equal(quotient, product))


def near_ties(scale: float) -> Array:
    """The float32 numbers around each tie, [ties * (2 * NEIGHBOURS + 1)]."""
    ties = ((STEPS + 0.5) * scale).astype(np.float32)
    offsets = np.arange(-NEIGHBOURS, NEIGHBOURS + 1, dtype=np.int32)
    around: Array = (ties.view(np.int32)[:, None] + offsets).view(np.float32)
    return around.reshape(-1)
