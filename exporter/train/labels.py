"""The labels of samples, held against what the network gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from exporter.errors import RecipeError

IGNORED = -100
"""A target that cross entropy leaves out, as torch defines it."""


def check_classes(outputs: Any, labels: torch.Tensor) -> None:
    """Refuse what top-1 accuracy cannot be measured on.

    Args:
        outputs: of the network, [N, classes].
        labels: of the samples, whole numbers [N] from 0 to classes - 1.

    Raises:
        RecipeError: the outputs or the labels are anything else.
    """
    if not torch.is_tensor(outputs) or outputs.dim() != 2:
        raise RecipeError(
            "accuracy cannot be measured on what the network gives",
            expected="one output [N, classes]",
            found=_shape(outputs),
            remedy="name what counts instead (score in [data]), or leave test and validation out",
        )
    check_labels(outputs, labels)


def cross_entropy(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy with classes of any integer type, or with a probability for each class.

    Raises:
        RecipeError: several outputs, a class that the network has no output for, or another type.
    """
    if not torch.is_tensor(outputs):
        raise RecipeError(
            "cross entropy takes one output",
            expected="a tensor [N, classes]",
            found=_shape(outputs),
            remedy="name a loss of your own (loss in [data], docs/training.md)",
        )
    if targets.is_floating_point() and targets.shape == outputs.shape:
        return nn.functional.cross_entropy(outputs, targets)
    check_labels(outputs, torch.where(targets.long() == IGNORED, 0, targets))
    return nn.functional.cross_entropy(outputs, targets.long())


def check_labels(outputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Refuse labels that are no classes of these outputs [N, classes, ...].

    Raises:
        RecipeError: another shape or type, or a number that is out of range.
    """
    found = ""
    if labels.dim() != outputs.dim() - 1:
        found = f"labels {_shape(labels)} for outputs {_shape(outputs)}"
    elif labels.is_floating_point():
        found = f"{str(labels.dtype).removeprefix('torch.')} numbers"
    else:
        classes = labels.long()
        outside = classes[(classes < 0) | (classes >= outputs.shape[1])]
        found = f"the label {int(outside[0])}" if len(outside) else ""
    if found:
        raise RecipeError(
            "the labels of the data do not fit the network's outputs",
            expected=f"a class for each sample: a whole number from 0 to {outputs.shape[1] - 1}",
            found=found,
            remedy="number the classes from 0 (one-hot rows: argmax(1); floats: long()), and give "
            "the network an output for each",
        )


def _shape(outputs: Any) -> str:
    return str(list(outputs.shape)) if torch.is_tensor(outputs) else type(outputs).__name__
