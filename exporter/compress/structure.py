"""What of a module ends up in the shipped file beside the weights: layers, channels, operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
FOLDED = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.ReLU,
    nn.ReLU6,
    nn.Identity,
)
_FOLDED_CALLS = {"relu", "relu_", "relu6", "dropout", "batch_norm", "size", "dim", "getattr"}


@dataclass(frozen=True)
class Structure:
    """Counts that tell what a network takes beside its weights.

    Attributes:
        layers: convolutions and dense layers.
        channels: their outputs, each with a scale and a bias.
        operators: all others that stay in the file, such as additions and pooling.
        other_parameters: parameters of none of those layers, of batch norms or of biases.
    """

    layers: int
    channels: int
    operators: int
    other_parameters: int


def structure_of(model: nn.Module) -> Structure:
    """Count; shared layers count once, as their weights do."""
    layers = [module for module in model.modules() if isinstance(module, WEIGHTED)]
    taken = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, (*WEIGHTED, *FOLDED))
        for parameter in module.parameters(recurse=False)
    }
    others = sum(p.numel() for p in model.parameters() if id(p) not in taken)
    return Structure(
        len(layers), sum(_outputs(layer) for layer in layers), _operators(model), others
    )


def _outputs(layer: nn.Module) -> int:
    outputs: Any = getattr(layer, "out_channels", None) or layer.out_features
    return int(outputs)


class _Tracer(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Compressed layers are classes of ours, and leaves all the same."""
        return isinstance(m, (*WEIGHTED, *FOLDED)) or super().is_leaf_module(
            m, module_qualified_name
        )


def trace(model: nn.Module) -> list[torch.fx.Node] | None:
    """The nodes of forward(), with convolutions and dense layers whole; None if it has none."""
    try:
        return list(_Tracer().trace(model).nodes)
    except Exception:  # any error of the user's forward(), which tracing runs with proxies
        return None


def _operators(model: nn.Module) -> int:
    """The operators that are no layer and not folded into one.

    A module that cannot be traced, as one that branches on values, counts its parts.
    """
    kept = (*WEIGHTED, *FOLDED)
    nodes = trace(model)
    if nodes is None:
        leaves = [m for m in model.modules() if not list(m.children())]
        return sum(not isinstance(leaf, kept) for leaf in leaves)
    return sum(1 for _ in _staying(model, nodes))


def _staying(model: nn.Module, nodes: list[torch.fx.Node]) -> Iterator[torch.fx.Node]:
    for node in nodes:
        if node.op == "call_module":
            if not isinstance(model.get_submodule(str(node.target)), (*WEIGHTED, *FOLDED)):
                yield node
        elif node.op in ("call_function", "call_method"):
            name = node.target if isinstance(node.target, str) else node.target.__name__
            if name not in _FOLDED_CALLS:
                yield node
