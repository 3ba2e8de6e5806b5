"""Batch norm statistics, measured anew: those of training lag behind weights that moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from exporter.modules import batch_norms, evaluating


@torch.no_grad()
def re_estimate(
    model: nn.Module,
    batches: Iterable[Any],
    to_model: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> int:
    """Give every batch norm the mean and variance of these batches; the mode stays as it was.

    Averaged over batches with equal weights (momentum None of `nn.BatchNorm2d`). Needed behind
    pruning or rounding that no training follows.

    Args:
        model: changed in place; dropout and the like are off meanwhile.
        batches: of inputs, or of (inputs, ...) as a loader gives them.
        to_model: turns inputs into what the model takes; None where they are that.

    Returns:
        How many batches there were; without any, or without batch norms, nothing changes.
    """
    norms = batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    count = 0
    try:
        with evaluating(model):
            for batch in batches if norms else ():
                inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
                if count == 0:
                    _begin(norms)
                model(inputs if to_model is None else to_model(inputs))
                count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return count


def _begin(norms: list[Any]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
