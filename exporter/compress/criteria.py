"""Which weights go: the criteria that a recipe or plan names.

- "global": the smallest of the whole network. Layers that can spare more lose more.
- "uniform": the smallest of each layer, to the same sparsity everywhere.
- "erk": to the densities of Erdős-Rényi kernels (`exporter.compress.erk`).
- "2:4" and the like: in every 4 neighbours along the input axis, at most 2 stay
  (`exporter.compress.nm`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from exporter.compress.erk import erk_densities
from exporter.compress.magnitude import Masks, Weights, check_sparsity, global_masks, layer_masks
from exporter.compress.nm import Pattern, pattern_masks
from exporter.errors import RecipeError

Criterion = Callable[[Weights, float], Masks]
"""Weights by name and a sparsity in [0, 1) to masks, True where a weight stays."""

PATTERN: Final = re.compile(r"(\d+):(\d+)")


def uniform_masks(weights: Weights, sparsity: float) -> Masks:
    """Prune every layer to the same sparsity."""
    check_sparsity(sparsity)
    return layer_masks(weights, dict.fromkeys(weights, 1.0 - sparsity))


def erk_masks(weights: Weights, sparsity: float) -> Masks:
    """Prune every layer to its density by ERK."""
    check_sparsity(sparsity)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    return layer_masks(weights, erk_densities(shapes, 1.0 - sparsity))


CRITERIA: Final[dict[str, Criterion]] = {
    "global": global_masks,
    "uniform": uniform_masks,
    "erk": erk_masks,
}


def criterion_of(name: str) -> Criterion:
    """The criterion of a name.

    Raises:
        RecipeError: there is none.
    """
    pattern = pattern_of(name)
    if pattern is not None:
        return partial(pattern_masks, pattern)
    if name not in CRITERIA:
        raise RecipeError(
            f"'{name}' is no criterion of pruning",
            expected=f"{', '.join(CRITERIA)}, or a pattern such as 2:4",
            found=name,
        )
    return CRITERIA[name]


def pattern_of(name: str) -> Pattern | None:
    """The N:M pattern that a criterion names; None for another criterion.

    Raises:
        RecipeError: a pattern that prunes nothing, or everything.
    """
    found = PATTERN.fullmatch(name)
    return None if found is None else Pattern(int(found[1]), int(found[2]))
