"""One layer of a shipped file, as the report shows it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LayerRow"]


@dataclass(frozen=True)
class LayerRow:
    """What one layer's weights look like in the file.

    Attributes:
        name: the layer's name in the file.
        operator: the operator that reads the weights.
        weights: how many weights it has.
        zeros: how many of them are zero.
        distinct_levels: how many different values they take.
        bytes: what they take in the file, in bytes.
        entropy_bits: their order-0 entropy, in bits a weight: what a good coder comes close to.
    """

    name: str
    operator: str
    weights: int
    zeros: int
    distinct_levels: int
    bytes: int
    entropy_bits: float

    @property
    def sparsity(self) -> float:
        """The share of zeros, in [0, 1]."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def entropy_bytes(self) -> float:
        """The whole layer at its entropy, in bytes."""
        return self.entropy_bits * self.weights / 8
