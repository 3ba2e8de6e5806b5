"""What the package of a network will take, from its weights as they are now.

The weights' part is our own coder's estimate (`exporter.pack.estimate`) for the very integers that
would ship. The rest is not known before the export, and is counted: scales and biases by channel,
names, shapes and operators by layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from exporter.compress.levels import to_levels
from exporter.compress.structure import WEIGHTED, Structure
from exporter.quantize.scheme import to_grid, weight_scale

# Least squares over the packages of nine networks of `examples.models` and ResNet-20, with short
# scales and coarse biases: within 8 % of what is not weights.
FILE_BYTES = 1020.0
LAYER_BYTES = 75.0
OPERATOR_BYTES = 31.0
SCALES_OF_LAYER_BYTES, SCALE_BYTES = 14.0, 0.95
BIASES_OF_LAYER_BYTES, BIAS_BYTES = 8.0, 0.95


@dataclass(frozen=True)
class CodedSize:
    """Bytes of the package of the int8 .tflite file, by what they hold.

    Attributes:
        weights: the integers of convolutions and dense layers.
        scales: scales and biases of their channels.
        others: parameters of other operators, each as a byte.
        skeleton: the file's own structure, and the package's header.
    """

    weights: float
    scales: float
    others: float
    skeleton: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.scales + self.others + self.skeleton


@dataclass(frozen=True)
class Weight:
    """A layer's weight on its way to int8.

    Attributes:
        values: [out, ...], real.
        step: of the layer's grid; None where channels get scales of their own at the export.
        dense: whether the pair rule of `exporter.quantize.scheme` holds for it.
    """

    values: torch.Tensor
    step: float | None
    dense: bool


def coded_size(weights: Sequence[Weight], structure: Structure) -> CodedSize:
    """Estimate a package.

    Args:
        weights: of every convolution and dense layer.
        structure: of the network.
    """
    return package_size(weights_size(weights), structure)


def weights_size(weights: Sequence[Weight]) -> float:
    """Bytes of weights in a package: of samples of their rows, where they are many."""
    from exporter.pack.estimate import row_stride, weight_bytes

    items = sum(weight.values.numel() for weight in weights)
    rows = [len(weight.values) for weight in weights]
    arrays = [
        shipped_integers(weight, row_stride(count, items)).cpu().numpy()
        for weight, count in zip(weights, rows, strict=True)
    ]
    return weight_bytes(arrays, rows)


def package_size(weights: float, structure: Structure) -> CodedSize:
    """The parts of a package whose weights take so many bytes."""
    return CodedSize(
        weights=weights,
        scales=(SCALES_OF_LAYER_BYTES + BIASES_OF_LAYER_BYTES) * structure.layers
        + (SCALE_BYTES + BIAS_BYTES) * structure.channels,
        others=float(structure.other_parameters),
        skeleton=FILE_BYTES + LAYER_BYTES * structure.layers + OPERATOR_BYTES * structure.operators,
    )


@torch.no_grad()
def shipped_integers(weight: Weight, stride: int = 1) -> torch.Tensor:
    """The integers that a weight ships as, int8, but for signs that batch norm flips.

    Args:
        weight: which.
        stride: gives every so many rows only.
    """
    rows = weight.values.detach()[::stride]
    if weight.step is not None:
        return to_levels(rows, weight.step).to(torch.int8)
    scale = weight_scale(rows, pair_rule=weight.dense)
    return to_grid(rows, scale, pair_rule=weight.dense).to(torch.int8)


def weights_of(
    model: nn.Module,
    steps: Mapping[int, float | None],
    instead: Mapping[int, torch.Tensor] = MappingProxyType({}),
) -> list[Weight]:
    """The weights of a model's layers, shared ones once.

    Args:
        model: whose.
        steps: by the id of the parameter.
        instead: values in the parameter's place, likewise.
    """
    found: dict[int, Weight] = {}
    for module in model.modules():
        if not isinstance(module, WEIGHTED):
            continue
        weight: torch.Tensor = instead.get(id(module.weight), module.weight)
        groups = getattr(module, "groups", 1)
        values = weight
        if isinstance(module, nn.ConvTranspose2d):
            values = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        dense = groups == 1 or groups != len(values)
        own = id(module.weight)
        found.setdefault(own, Weight(values, steps.get(own), dense))
    return list(found.values())
