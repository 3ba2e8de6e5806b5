"""Unstructured pruning by magnitude: the smallest weights of the whole network go first."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def global_masks(weights: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Masks that keep the largest (1 - sparsity) of all weights together.

    Args:
        weights: by name.
        sparsity: share of zeros in [0, 1).

    Returns:
        Bool masks, True where a weight stays. Every tensor keeps at least its largest weight, so
        that no layer goes dead.

    Raises:
        ValueError: a sparsity outside [0, 1), or a weight that is not finite (its name is given).
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1), not {sparsity}")
    magnitudes = {name: weight.detach().abs() for name, weight in weights.items()}
    for name, magnitude in magnitudes.items():
        if not bool(torch.isfinite(magnitude).all()):
            raise ValueError(f"weight '{name}' holds NaN or infinity")
    if not magnitudes:
        return {}
    everything = torch.cat([magnitude.flatten() for magnitude in magnitudes.values()])
    pruned = int(sparsity * everything.numel())
    if pruned == 0:
        return {name: torch.ones_like(m, dtype=torch.bool) for name, m in magnitudes.items()}
    threshold = everything.kthvalue(pruned).values
    return {
        name: (magnitude > threshold) | (magnitude >= magnitude.max())
        for name, magnitude in magnitudes.items()
    }
