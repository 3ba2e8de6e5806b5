"""Few levels: weights on a coarse uniform grid, one step for a layer.

This is weight sharing (Han et al., arXiv:1510.00149) in the form that survives int8: a layer's
weights are step * integer with few distinct integers. Batch norm's fold multiplies each output
channel's step by a number of its own and leaves the integers as they are; a code book of floats
would not stay one.
"""

from __future__ import annotations

from typing import Any

import torch

LARGEST_LEVEL = 64
"""Two adjacent levels sum to at most 128: the pair rule of `exporter.quantize.scheme` holds."""


def layer_step(weight: torch.Tensor, step_in_rms: float) -> float:
    """The step of a layer: a multiple of the root mean square of its live weights.

    Args:
        weight: any shape; zeros are pruned weights and do not count.
        step_in_rms: the step in units of that root mean square; 0.35 leaves about 15 levels.
    """
    live = weight.detach()[weight.detach() != 0]
    if live.numel() == 0:
        return 1.0
    rms = float(live.double().square().mean().sqrt())
    # A layer with one huge weight: no level may lie beyond the largest.
    return max(step_in_rms * rms, float(live.abs().max()) / LARGEST_LEVEL)


def to_levels(weight: torch.Tensor, step: float) -> torch.Tensor:
    """The integers of a weight on its grid, as float."""
    # In place: training rounds every weight at every step.
    return (weight / step).round_().clamp_(-LARGEST_LEVEL, LARGEST_LEVEL)


class RoundToLevels(torch.autograd.Function):
    """step * integer in the forward pass, a straight-through gradient in the backward pass."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, step: float) -> torch.Tensor:
        """Any shape to the same shape."""
        limit = (LARGEST_LEVEL + 0.5) * step
        low, high = (float(end) for end in weight.aminmax())
        # As a rule all weights lie within the levels: then there is nothing to keep.
        ctx.save_for_backward(weight.abs() <= limit if max(-low, high) > limit else None)
        return to_levels(weight, step).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient, where the weight lies within the levels."""
        (inside,) = ctx.saved_tensors
        return gradients[0] if inside is None else gradients[0] * inside, None
