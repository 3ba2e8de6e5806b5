"""Unstructured pruning by magnitude: over the whole network, or to a density for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.errors import WeightError

CHUNK = 1 << 22
HALF_BITS = 16

Weights = Mapping[str, torch.Tensor]
Masks = dict[str, torch.Tensor]


def global_masks(weights: Weights, sparsity: float) -> Masks:
    """Masks that keep the largest (1 - sparsity) of all weights together; of equal ones a part.

    Args:
        weights: by name.
        sparsity: share of zeros in [0, 1).

    Returns:
        Bool masks, True where a weight stays. Every tensor keeps at least its largest weight, so
        that no layer goes dead.

    Raises:
        ValueError: a sparsity outside [0, 1).
        WeightError: a weight that is not finite; its name is given.
    """
    check_sparsity(sparsity)
    check_finite(weights.items())
    total = sum(weight.numel() for weight in weights.values())
    pruned = int(sparsity * total)
    if pruned == 0:
        return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    return _without_smallest(weights, pruned)


def layer_masks(weights: Weights, densities: Mapping[str, float]) -> Masks:
    """Masks that keep the largest weights of each layer, to a density in [0, 1] of its own.

    Raises:
        WeightError: a weight that is not finite; its name is given.
    """
    check_finite(weights.items())
    masks = {}
    for name, weight in weights.items():
        pruned = round((1.0 - densities[name]) * weight.numel())
        if pruned == 0:
            masks[name] = torch.ones_like(weight, dtype=torch.bool)
        else:
            masks |= _without_smallest({name: weight}, pruned)
    return masks


def check_sparsity(sparsity: float) -> None:
    """Refuse a share of zeros outside [0, 1).

    Raises:
        ValueError: it is.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1), not {sparsity}")


def check_finite(named: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse NaN and infinity.

    Raises:
        WeightError: with the name of the first tensor that holds one, and how many.
    """
    for name, tensor in named:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise WeightError(
                f"'{name}' holds NaN or infinity",
                expected="finite weights",
                found=f"{bad} of {tensor.numel()} values are not",
                remedy="lower the learning rate, or start from sound weights",
            )


def check_module(module: nn.Module) -> None:
    """Refuse NaN and infinity in a module's parameters and in what its batch norms measured.

    Raises:
        WeightError: as `check_finite`.
    """
    check_finite(module.named_parameters())
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm):
            check_finite(part.named_buffers(name))


def kth_magnitude(tensors: Iterable[torch.Tensor], k: int) -> float:
    """The k-th smallest magnitude of finite tensors, k from 1; exact for float32.

    Magnitudes are ordered as their bit patterns are, so that two histograms of half a pattern each
    find it, in memory that does not grow with the network.
    """
    kept = list(tensors)
    upper = sum(_histogram(bits >> HALF_BITS) for bits in _patterns(kept))
    high, below = _place(upper, k)
    lower = sum(_histogram(bits[(bits >> HALF_BITS) == high] & 0xFFFF) for bits in _patterns(kept))
    low, _ = _place(lower, k - below)
    return float(torch.tensor((high << HALF_BITS) | low, dtype=torch.int32).view(torch.float32))


def _patterns(tensors: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Bit patterns of magnitudes, int32, in chunks."""
    for tensor in tensors:
        for chunk in tensor.detach().flatten().split(CHUNK):
            yield chunk.float().abs().view(torch.int32)


def _histogram(values: torch.Tensor) -> torch.Tensor:
    return torch.bincount(values, minlength=1 << HALF_BITS).cpu()


def _place(counts: torch.Tensor | int, k: int) -> tuple[int, int]:
    """The bin of the k-th smallest value, and how many values lie below it."""
    sums = torch.as_tensor(counts).cumsum(0)
    bin_ = int(torch.searchsorted(sums, torch.tensor(k)))
    return bin_, int(sums[bin_ - 1]) if bin_ else 0


def _without_smallest(weights: Weights, pruned: int) -> Masks:
    """Masks without so many of the smallest weights, and without all that are zero already.

    Of those as large as the largest that goes, evenly spaced ones stay: a layer of +-1 would lose
    all or nothing otherwise. The largest weight of a layer stays in any case, and layers of zeros
    stay whole.
    """
    threshold = kth_magnitude(weights.values(), pruned)
    # As float32, in which the threshold was found.
    magnitudes = {name: weight.detach().float().abs() for name, weight in weights.items()}
    going = pruned - sum(int((one < threshold).sum()) for one in magnitudes.values())
    tied = sum(int((one == threshold).sum()) for one in magnitudes.values())
    seen = 0
    masks = {}
    for name, magnitude in magnitudes.items():
        mask, equal = magnitude > threshold, magnitude == threshold
        if threshold > 0:
            places = torch.arange(seen, seen + int(equal.sum()), device=mask.device)
            mask[equal] = places * going // tied == (places + 1) * going // tied
            seen += len(places)
        if not bool(mask.any()):
            mask = _largest(magnitude)
        masks[name] = mask
    return masks


def _largest(magnitude: torch.Tensor) -> torch.Tensor:
    """True for the largest, the first of several; everywhere where all are zero."""
    mask = magnitude == magnitude.max()
    if bool(magnitude.any()):
        mask &= mask.flatten().cumsum(0).reshape(mask.shape) == 1
    return mask
