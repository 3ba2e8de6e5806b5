"""How a stretch of training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class FitSettings:
    """An optimizer, a cosine learning rate behind a short warm-up, and how a step is computed.

    Attributes:
        epochs: passes over the training data.
        lr: the largest learning rate.
        batch_size: samples of one optimizer step, over all processes and parts.
        optimizer: "sgd" with Nesterov momentum, or "adamw".
        momentum: of SGD.
        weight_decay: of all parameters.
        warmup: share of the steps over which the learning rate rises.
        precision: of the forward and backward pass; None is what accelerate's launcher says, or
            fp32.
        accumulate: parts in which a step's batch is computed, to need less memory.
        clip: largest norm of all gradients together; None clips nothing.
        freeze_batch_norm: share of the steps, at the end, over which batch norm keeps its
            statistics.
        workers: processes that load data.
        seed: of the order of the data.
    """

    epochs: float
    lr: float
    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    precision: Precision | None = None
    accumulate: int = 1
    clip: float | None = None
    freeze_batch_norm: float = 0.0
    workers: int = 0
    seed: int = 0

    def steps(self, batches: int) -> int:
        """Optimizer steps, given the batches of an epoch."""
        return max(1, round(self.epochs * batches))


def computes_bf16() -> bool:
    """Whether there is an accelerator, or a CPU with instructions for bf16.

    On others PyTorch computes bf16 all the same, many times slower than fp32.
    """
    import torch

    if torch.accelerator.is_available():
        return True
    mkldnn = torch.backends.mkldnn.is_available()
    return mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
