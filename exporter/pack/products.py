"""Finds float vectors that are another vector of the file times one number.

The scales of an int8 layer's biases are its weights' scales times its input's scale. They are as
incompressible as random numbers, and in a small pruned network a tenth of the package; as a factor
they cost four bytes a layer.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtimes.methods import scaled

Floats = npt.NDArray[np.float32]

# Both sides are rounded to 24 bits, so true multiples have ratios this close to each other.
_RATIO_SPREAD: Final = 4 * 2.0**-24
# The factor is a float32 near the mean ratio; this many steps to either side are tried.
_STEPS: Final = 3


@dataclass(frozen=True)
class Product:
    """A vector that equals the vector at `source` times `factor`, bit for bit."""

    source: int
    factor: np.float32


def find_products(vectors: dict[int, Floats]) -> dict[int, Product]:
    """Which vectors are products, by their keys. A source is never a product itself."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for key, vector in vectors.items():
        by_length[vector.size].append(key)
    products: dict[int, Product] = {}
    for keys in by_length.values():
        products.update(_among([(key, vectors[key]) for key in keys]))
    return products


def _among(candidates: list[tuple[int, Floats]]) -> dict[int, Product]:
    """The products among vectors of one length."""
    products: dict[int, Product] = {}
    sources: set[int] = set()
    table = np.stack([vector for _, vector in candidates]).astype(np.float64)
    for row, (key, vector) in enumerate(candidates):
        if key in sources:
            continue
        with np.errstate(all="ignore"):
            ratios = table[row] / table
            largest = np.abs(ratios).max(axis=1)
            near = np.isfinite(largest) & (np.ptp(ratios, axis=1) <= _RATIO_SPREAD * largest)
        for other in np.flatnonzero(near):
            source = candidates[int(other)]
            if source[0] == key or source[0] in products:
                continue
            factor = _factor(source[1], vector, float(ratios[other].mean()))
            if factor is not None:
                products[key] = Product(source[0], factor)
                sources.add(source[0])
                break
    return products


def _factor(source: Floats, target: Floats, ratio: float) -> np.float32 | None:
    """The float32 that takes the source to the target exactly, if there is one."""
    factor = np.float32(ratio)
    for _ in range(_STEPS):
        factor = np.nextafter(factor, np.float32(-np.inf))
    for _ in range(2 * _STEPS + 1):
        if scaled(source, factor).tobytes() == target.tobytes():
            return factor
        factor = np.nextafter(factor, np.float32(np.inf))
    return None
