"""The network against the recipe, before anything trains: its input, how many classes it has."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from exporter.errors import RecipeError
from exporter.modules import evaluating
from exporter.stages.context import Context
from exporter.stages.ship import read_labels


def check_network(context: Context) -> None:
    """Run the network once on an empty image.

    Raises:
        RecipeError: it does not take [input], or has another number of classes than [output] labels
            has lines.
    """
    outputs = _run(context)
    path = context.recipe.output.labels
    # One value is the answer to a question of yes or no, whatever its names are.
    if path is None or not torch.is_tensor(outputs) or outputs.dim() != 2 or outputs.shape[1] == 1:
        return
    names, classes = len(read_labels(path)), outputs.shape[1]
    if names != classes:
        raise RecipeError(
            f"[output] labels do not fit the network: {path}",
            expected=f"{classes} lines, one for each of its outputs",
            found=f"{names} lines that are not empty",
            remedy="write one name a line, in the order of the classes",
        )


def _run(context: Context) -> Any:
    module, shape = context.module(), context.spec.shape
    entered: list[tuple[str, nn.Module]] = []
    for name, part in module.named_modules():
        if not list(part.children()):
            part.register_forward_pre_hook(lambda part, _, name=name: entered.append((name, part)))
    try:
        with torch.no_grad(), evaluating(module):
            return module(torch.zeros((2, *shape[1:])))
    except Exception as error:
        name, layer = entered[-1] if entered else ("", module)
        channels = getattr(layer, "in_channels", None)
        first = len(entered) == 1 and channels not in (None, context.spec.channels)
        raise RecipeError(
            f"'{context.recipe.model.factory}' fails on an image of the recipe's shape",
            expected=f"{channels} channels, which the first layer '{name}' takes" if first else "",
            found=f"{'x'.join(map(str, shape))}; {type(layer).__name__} '{name}': {_line(error)}",
            remedy="change the shape ([input] shape, 1 x channels x height x width), or what the "
            "callable makes",
        ) from error


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
