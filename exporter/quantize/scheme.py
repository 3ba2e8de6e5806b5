"""What int8 means here, and int16 where activations are asked for in it.

Activations: int8 per tensor, affine, real = scale * (integer - zero_point). On request int16 per
tensor, symmetric: zero point 0 (TFLite's int16x8, https://ai.google.dev/edge/litert/conversion/
tensorflow/quantization/quantization_spec).
Weights: int8 per output channel, symmetric, integers in [-127, 127], zero point 0.
Biases: int32, scale = input scale * weight scale, zero point 0.

Scales are float32 everywhere: a scale is rounded once, here, and then only copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from exporter.build import Activations
from exporter.graph.pairs import PAIR_MAX

ACTIVATION_MIN, ACTIVATION_MAX = -128, 127
WEIGHT_MAX = 127
SMALLEST_SCALE = 1e-8
WIDE_MAX = 32767
"""The largest int16."""
SMALLEST_WIDE_SCALE = SMALLEST_SCALE / 256


@dataclass(frozen=True)
class ActivationScale:
    """Scale, zero point and type of one activation tensor."""

    scale: float
    zero_point: int
    kind: Activations = "int8"

    @property
    def dtype(self) -> torch.dtype:
        """The integers' type."""
        return torch.int8 if self.kind == "int8" else torch.int16

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        limits = torch.iinfo(self.dtype)
        return limits.min, limits.max

    @staticmethod
    def of(scale: float, zero_point: int, kind: Activations = "int8") -> ActivationScale:
        """Round the scale to float32 and check both.

        Raises:
            ValueError: a scale that is not positive and finite, or a zero point outside int8, or
                another than 0 for int16.
        """
        rounded = float(np.float32(scale))
        if not (math.isfinite(rounded) and rounded > 0):
            raise ValueError(f"a scale must be positive and finite, not {scale}")
        if not ACTIVATION_MIN <= zero_point <= ACTIVATION_MAX:
            raise ValueError(f"a zero point must be in [-128, 127], not {zero_point}")
        if kind == "int16" and zero_point != 0:
            raise ValueError(f"the zero point of int16 must be 0, not {zero_point}")
        return ActivationScale(rounded, int(zero_point), kind)

    @staticmethod
    def from_range(low: float, high: float, kind: Activations = "int8") -> ActivationScale:
        """The scale that covers [low, high] and zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        if kind == "int16":
            largest = max(-low, high) / WIDE_MAX
            return ActivationScale.of(max(largest, SMALLEST_WIDE_SCALE), 0, kind)
        scale = max((high - low) / (ACTIVATION_MAX - ACTIVATION_MIN), SMALLEST_SCALE)
        return ActivationScale.of(scale, zero_point_for(low, scale))


def zero_point_for(low: float, scale: float) -> int:
    """The integer of zero when `low` is the smallest value."""
    zero_point = round(ACTIVATION_MIN - low / float(np.float32(scale)))
    return int(min(max(zero_point, ACTIVATION_MIN), ACTIVATION_MAX))


def largest_pair(weight: torch.Tensor) -> torch.Tensor:
    """Per output channel, the largest sum of two adjacent weights of one sign.

    Args:
        weight: [out, in, kh, kw] or [out, in].

    Returns:
        [out]. Adjacent as `exporter.graph.pairs` has it.
    """
    rows = _as_summed(weight).flatten(1)
    padded = torch.nn.functional.pad(rows, (0, rows.shape[1] % 2))
    largest = weight.new_zeros(len(weight))
    for sign in (1.0, -1.0):
        positive = (sign * padded).clamp_min(0)
        largest = torch.maximum(largest, (positive[:, 0::2] + positive[:, 1::2]).amax(1))
    return largest


def weight_scale(weight: torch.Tensor, *, pair_rule: bool) -> torch.Tensor:
    """Per-channel scales [out] that cover `weight` and, if asked, keep the pair rule.

    A channel of zeros takes the layer's largest scale, so that its bias stays within int32.
    """
    largest = weight.flatten(1).abs().amax(1)
    scale = largest / WEIGHT_MAX
    if pair_rule:
        scale = torch.maximum(scale, largest_pair(weight) / PAIR_MAX)
    fallback = scale.max() if float(scale.max()) > 0 else scale.new_tensor(1.0)
    return torch.where(largest > 0, scale, fallback).float()


SCALE_BITS = 8
"""Mantissa bits of a short scale: half a unit in the last place is 0.2 % to 0.4 % of it."""


def short_scale(scale: torch.Tensor, *, up: bool) -> torch.Tensor:
    """Scales with a mantissa of `SCALE_BITS`, float32: a third of their bytes in a package.

    Args:
        scale: positive, any shape.
        up: never smaller than it was, so that what it covers stays covered; else the nearest.
    """
    mantissa, exponent = torch.frexp(scale.float())
    parts = mantissa * (1 << SCALE_BITS)
    short = torch.ceil(parts) if up else torch.round(parts)
    return torch.ldexp(short / (1 << SCALE_BITS), exponent)


def to_grid(weight: torch.Tensor, scale: torch.Tensor, *, pair_rule: bool) -> torch.Tensor:
    """Round a weight to its grid.

    Args:
        weight: [out, ...], real.
        scale: one scale for each output channel, of any shape that broadcasts or [out].
        pair_rule: keep the sums of adjacent weights of one sign within `PAIR_MAX`.

    Returns:
        Integers as float, in [-127, 127].
    """
    shape = (-1,) + (1,) * (weight.dim() - 1)
    # In place: training rounds every weight at every step.
    integers = (weight / scale.reshape(shape)).round_().clamp_(-WEIGHT_MAX, WEIGHT_MAX)
    return limit_pairs(integers) if pair_rule else integers


def limit_pairs(integers: torch.Tensor) -> torch.Tensor:
    """Bring adjacent integers of one sign whose sum exceeds `PAIR_MAX` back to it.

    Magnitudes only shrink, by half of the excess each.
    """
    if keeps_pair_rule(integers):
        return integers
    rows = _as_summed(integers)
    limited = _limit_rows(rows.flatten(1)).reshape(rows.shape)
    return limited.movedim(-1, 1).contiguous()


def keeps_pair_rule(integers: torch.Tensor) -> bool:
    """Whether no two adjacent integers of one sign sum to more than `PAIR_MAX`.

    Those of unlike signs never do, so sums alone tell. Training asks at every step.

    Args:
        integers: [out, in, kh, kw] or [out, in], in [-127, 127].
    """
    if integers.shape[1] % 2 == 0:
        sums = integers[:, 0::2] + integers[:, 1::2]  # pairs do not go on to the next place
    else:
        sums = _sums_of_pairs(_as_summed(integers).flatten(1))
    return not sums.numel() or all(abs(float(end)) <= PAIR_MAX for end in sums.aminmax())


def _as_summed(weight: torch.Tensor) -> torch.Tensor:
    """Weights in the order in which kernels add their products: OHWI."""
    return weight.movedim(1, -1)


def _sums_of_pairs(rows: torch.Tensor) -> torch.Tensor:
    """[out, n] to [out, n // 2]; the last of an odd row is alone."""
    even = rows.shape[1] // 2 * 2
    return rows[:, 0:even:2] + rows[:, 1:even:2]


def _limit_rows(rows: torch.Tensor) -> torch.Tensor:
    width = rows.shape[1]
    pairs = torch.nn.functional.pad(rows, (0, width % 2)).unflatten(1, (-1, 2))
    same_sign = pairs[..., 0] * pairs[..., 1] > 0
    excess = (pairs.abs().sum(-1) - PAIR_MAX).clamp_min(0) * same_sign
    magnitude = pairs.abs() - torch.ceil(excess / 2).unsqueeze(-1)
    return (torch.sign(pairs) * magnitude).flatten(1)[:, :width]
