"""The numbers that keep exact results away from ties, for scales that are chosen or moved.

`exporter.quantize.exact` chooses scales by them and says why they hold;
`exporter.graph.passes.tie_free_scales` moves those of another quantizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

ADD_DENOMINATOR = 511
PRODUCT_DENOMINATORS = (511, 2047)
SMALLEST_NUMERATOR = 8
"""Of a mean's ratio, s_in / (n * s_out) = numerator / odd: a power of two."""
FINE_ENOUGH = 200
"""Parts of a step from which on the next odd number of them is at most one percent more."""
LARGEST_DENOMINATOR_OF_WEIGHTS = 4096
"""Up to here a tie is 1e-4 steps away at least, and float32 errs by a tenth of that."""
TOLERANCE = 1e-9


def next_odd(number: float) -> int:
    """The least odd number that is not below."""
    least = math.ceil(number)
    return least + 1 - least % 2


def product_step(step: float, least: float) -> float | None:
    """The step of a product's result: step * odd / numerator, and not below `least`.

    `step` is the product of the operands' steps. None where no odd number is large enough.
    """
    low, high = PRODUCT_DENOMINATORS
    for numerator in range(1, high):
        odd = next_odd(least * numerator / step - TOLERANCE)
        if odd >= low:
            return step * odd / numerator
    return None


def resize_denominator(source: Sequence[int], result: Sequence[int], *, aligned: bool) -> int:
    """The number of which every weight of a bilinear resize is a fraction.

    Along an axis from `have` to `want` values, with p / q = have / want in lowest terms (corners
    aligned: (have - 1) / (want - 1)), positions are multiples of 1 / q; where centres are half a
    pixel off, of 1 / 2q unless p and q are odd.
    """
    denominator = 1
    for have, want in zip(source, result, strict=True):
        ratio = Fraction(have - 1, max(want - 1, 1)) if aligned else Fraction(have, want)
        halves = not aligned and not (ratio.numerator % 2 and ratio.denominator % 2)
        denominator *= ratio.denominator * (2 if halves else 1)
    return denominator
