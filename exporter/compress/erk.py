"""Densities by Erdős-Rényi kernels: wide layers lose more than narrow ones."""

from __future__ import annotations

import math
from collections.abc import Mapping


def erk_densities(shapes: Mapping[str, tuple[int, ...]], density: float) -> dict[str, float]:
    """Each layer's share of weights that stay, so that `density` of all weights do.

    A layer's density is proportional to (n_in + n_out + w + h) / (n_in * n_out * w * h), and those
    that would exceed 1 are dense (Evci et al., arXiv:1911.11134, section 3, "Erdős-Rényi-Kernel").

    Args:
        shapes: of the weights, [out, in, ...], by name.
        density: in (0, 1].
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    wanted = density * sum(sizes.values())
    dense: set[str] = set()
    while True:
        left = wanted - sum(sizes[name] for name in dense)
        scaled = sum(raw[name] * sizes[name] for name in shapes if name not in dense)
        factor = max(0.0, left) / scaled if scaled else 0.0
        full = {name for name in shapes if name not in dense and factor * raw[name] > 1.0}
        if not full:
            return {name: 1.0 if name in dense else factor * raw[name] for name in shapes}
        dense |= full
