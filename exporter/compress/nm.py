"""N:M patterns: of every M neighbours along the input axis, at most N are not zero.

A. Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378, for 2:4. The input
axis is the innermost one of a convolution's weights in a .tflite file, and of a dense layer's. What
a dense layer reads of a flattened image has another order there than in the module and in ONNX:
see `exporter.compress.flattened`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from exporter.compress.magnitude import Masks, Weights, check_finite, kth_magnitude
from exporter.errors import RecipeError


@dataclass(frozen=True)
class Pattern:
    """At most `keep` of every `of` neighbours."""

    keep: int
    of: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.keep < self.of:
            raise RecipeError(
                f"{self.keep}:{self.of} is no pattern of zeros",
                expected="N:M with 0 < N < M, such as 2:4 or 4:8",
                found=f"{self.keep}:{self.of}",
            )

    @property
    def sparsity(self) -> float:
        """The share of zeros where the pattern holds."""
        return 1.0 - self.keep / self.of


def pattern_mask(weight: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """True for the largest of every M neighbours along axis 1.

    Neighbours that do not fill a group all stay: so do layers with fewer than M inputs, such as
    depthwise convolutions and those that read an image.

    Args:
        weight: [out, in, ...].
        pattern: N:M.
    """
    magnitude = weight.detach().abs().movedim(1, -1)
    mask = torch.ones_like(magnitude, dtype=torch.bool)
    whole = magnitude.shape[-1] // pattern.of * pattern.of
    groups = magnitude[..., :whole].unflatten(-1, (-1, pattern.of))
    if whole:
        kept = groups.topk(pattern.keep, dim=-1).indices
        chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, kept, True)
        mask[..., :whole] = chosen.flatten(-2)
    return mask.movedim(-1, 1).contiguous()


def pattern_masks(pattern: Pattern, weights: Weights, sparsity: float) -> Masks:
    """Masks that hold a pattern once `sparsity` is the pattern's; the smallest go first until then.

    Raises:
        WeightError: a weight that is not finite; its name is given.
    """
    check_finite(weights.items())
    full = {name: pattern_mask(weight, pattern) for name, weight in weights.items()}
    candidates = [weight.detach()[~full[name]] for name, weight in weights.items()]
    count = sum(one.numel() for one in candidates)
    pruned = round(min(1.0, sparsity / pattern.sparsity) * count)
    if pruned == count:
        return full
    if pruned == 0:
        return {name: torch.ones_like(mask) for name, mask in full.items()}
    threshold = kth_magnitude(candidates, pruned)
    return {
        name: full[name] | (weight.detach().abs() > threshold) for name, weight in weights.items()
    }
