"""How many weights are zeros, and what the package will take, while a network trains."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from exporter.compress.coded_size import package_size
from exporter.compress.structure import Structure
from exporter.quantize.qat import GridWeight


class Sizes(Protocol):
    """What tells both; a compressor does."""

    def sparsity(self) -> float:
        """The share of zeros among the weights."""

    def coded_bytes(self) -> float:
        """About the bytes of the package, were training to end now."""


class GridSizes:
    """Of a network with quantizers in place.

    Args:
        module: whose weights lie on their grids.
        structure: of the network before it was captured.
    """

    def __init__(self, module: nn.Module, structure: Structure) -> None:
        self._weights = [part for part in module.modules() if type(part) is GridWeight]
        self._structure = structure

    def sparsity(self) -> float:
        """The share of zeros among the integers."""
        zeros = sum(int((weight.grid().integers == 0).sum()) for weight in self._weights)
        return zeros / max(1, self._items())

    def weight_bytes(self) -> float:
        """About the bytes of the integers in a package."""
        from exporter.pack.estimate import row_stride, weight_bytes

        items = self._items()
        rows = [len(weight.latent) for weight in self._weights]
        integers = [
            weight.grid().integers[:: row_stride(count, items)].cpu().numpy()
            for weight, count in zip(self._weights, rows, strict=True)
        ]
        return weight_bytes(integers, rows)

    def coded_bytes(self) -> float:
        """About the bytes of the package."""
        return package_size(self.weight_bytes(), self._structure).total

    def _items(self) -> int:
        return sum(weight.latent.numel() for weight in self._weights)
