"""Batch norm while training: frozen at the end, and the same in every process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.modules import batch_norms


def freeze(module: nn.Module) -> int:
    """Let every batch norm use its running statistics from now on; gives how many there are.

    `module.train()` undoes it.
    """
    norms = batch_norms(module)
    for norm in norms:
        norm.eval()
    return len(norms)


class Synchronized:
    """Batch norm over the whole batch where each process has a part of it, as a context.

    torch's own SyncBatchNorm is for GPUs only. This one changes the classes of a module's batch
    norms in place, so names and parameters stay, and gives them back.
    """

    def __init__(self, module: nn.Module, processes: int) -> None:
        self._norms = batch_norms(module) if processes > 1 else []

    def __enter__(self) -> None:
        """Swap the classes."""
        for norm in self._norms:
            norm.__class__ = _synchronized(type(norm))

    def __exit__(self, *_: object) -> None:
        """Swap them back."""
        for norm in self._norms:
            norm.__class__ = type(norm).__mro__[1]


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum over all of theirs."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _summed(gradients[0])


def _summed(values: torch.Tensor) -> torch.Tensor:
    total = values.contiguous().clone()
    torch.distributed.all_reduce(total)
    return total


_CLASSES: dict[type[_BatchNorm], type[_BatchNorm]] = {}


def _synchronized(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    if kind not in _CLASSES:
        _CLASSES[kind] = type(f"Synchronized{kind.__name__}", (kind,), {"forward": _forward})
    return _CLASSES[kind]


def _forward(norm: _BatchNorm, input: torch.Tensor) -> torch.Tensor:
    """[N, C, ...] to the same shape, normalised over the samples of all processes."""
    if not norm.training:
        plain: Any = type(norm).__mro__[1]
        result: torch.Tensor = plain.forward(norm, input)
        return result
    axes = [0, *range(2, input.dim())]
    x = input.float()
    count = x.numel() / x.shape[1]
    sums: Any = _SumOfAll.apply(torch.cat([x.sum(axes), x.new_tensor([count])]))
    total = sums[-1].detach()
    mean = sums[:-1] / total
    shape = (1, -1, *[1] * (input.dim() - 2))
    centred = x - mean.reshape(shape)
    # In two passes: a difference of large sums would lose what the variance is made of.
    squares: Any = _SumOfAll.apply(centred.square().sum(axes))
    variance = squares / total
    _update(norm, mean.detach(), variance.detach() * (total / (total - 1)))
    result = centred * torch.rsqrt(variance + norm.eps).reshape(shape)
    if norm.affine:
        result = result * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    return result.to(input.dtype)


@torch.no_grad()
def _update(norm: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor) -> None:
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)
