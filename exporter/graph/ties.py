"""The numbers that keep exact results away from ties, for scales that are chosen or moved.

`exporter.quantize.exact` chooses scales by them and says why they hold;
`exporter.graph.passes.tie_free_scales` moves those of another quantizer.
"""

from __future__ import annotations

import math

ADD_DENOMINATOR = 511
PRODUCT_DENOMINATORS = (511, 2047)
SMALLEST_NUMERATOR = 8
"""Of a mean's ratio, s_in / (n * s_out) = numerator / odd: a power of two."""
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
