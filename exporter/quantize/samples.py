"""Calibration samples that can be gone through more than once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from exporter.inputs import InputSpec

BATCH_SAMPLES = 8
"""Samples that are computed at once where many values are kept."""


class Samples:
    """Batches of a data set, as the graph takes them.

    They are taken from their source when they are first gone through, and kept as they came: uint8
    frames take a quarter of what the graph's floats do.

    Args:
        spec: the model's input.
        source: batches of the data set.
    """

    def __init__(self, spec: InputSpec, source: Iterable[torch.Tensor]) -> None:
        self._spec = spec
        self._source = iter(source)
        self._kept: list[torch.Tensor] = []

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Batches [N, C, H, W], float32.

        Raises:
            RecipeError: a batch does not fit the input.
        """
        for batch in self._kept:
            yield self._spec.to_graph(batch)
        for batch in self._source:
            converted = self._spec.to_graph(batch)
            self._kept.append(batch)
            yield converted

    def pick(self, count: int, *, leave: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Samples from all over the set, in batches of `BATCH_SAMPLES`, and others that are left.

        Args:
            count: how many; fewer where there are not so many.
            leave: how many others to pick. They come out of the first where all are too few, a
                quarter at most; of a single sample, both get it.

        Raises:
            ValueError: there are none.
        """
        self._kept += list(self._source)
        if not self._kept:
            raise ValueError("calibration needs at least one batch of inputs")
        total = sum(len(batch) for batch in self._kept)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0)).tolist()
        leave = min(leave, max(1, total // 4)) if leave else 0
        first = order[leave : leave + count] or order
        return self._take(first), self._take(order[:leave])

    def _take(self, indices: list[int]) -> list[torch.Tensor]:
        if not indices:
            return []
        ends = torch.tensor([len(batch) for batch in self._kept]).cumsum(0)
        taken = []
        for index in indices:
            place = int(torch.searchsorted(ends, index, right=True))
            taken.append(self._kept[place][index - int(ends[place])])
        return list(self._spec.to_graph(torch.stack(taken)).split(BATCH_SAMPLES))
