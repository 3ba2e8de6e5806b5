"""The order of the training data: the same for one process and many, from any place on."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler

from exporter.errors import RecipeError


@dataclass(frozen=True)
class Draw:
    """One sample as it is drawn in one epoch."""

    epoch: int
    index: int


class Order(Sampler[list[Any]]):
    """The batches of an epoch, shuffled, the last and smaller one left out.

    Args:
        samples: of the data set.
        batch_size: of all processes together.
        seed: of the order.
        rank: this process.
        processes: how many there are; each takes its part of every batch.
        seeded: give `Draw`s for a `Seeded` data set instead of indices.

    Raises:
        RecipeError: a batch cannot be shared out evenly.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        processes: int = 1,
        seeded: bool = False,
    ) -> None:
        self.batch_size = min(batch_size, samples)
        if self.batch_size % processes:
            raise RecipeError(
                "a batch cannot be shared out evenly",
                expected=f"[data] batch_size, and samples, of a multiple of {processes} processes",
                found=f"{self.batch_size} samples a step",
                remedy="change batch_size, or start another number of processes",
            )
        self.samples = samples
        self.rank, self.processes, self.seeded = rank, processes, seeded
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch = 0
        self.first = 0
        self.indices: deque[list[int]] = deque()

    def start(self, epoch: int, *, first: int = 0, state: torch.Tensor | None = None) -> None:
        """Prepare an epoch, from a batch on; `state` is what `state()` gave before it."""
        self.epoch, self.first = epoch, first
        self.indices.clear()
        if state is not None:
            self.generator.set_state(state)

    def state(self) -> torch.Tensor:
        """What the order of the epochs to come depends on."""
        return self.generator.get_state()

    def __len__(self) -> int:
        return self.samples // self.batch_size

    def __iter__(self) -> Iterator[list[Any]]:
        # What counts of the samples is their number; the sampler asks for a data set.
        numbers = cast("Sequence[int]", range(self.samples))
        sampler = RandomSampler(numbers, generator=self.generator)
        part = self.batch_size // self.processes
        for number, batch in enumerate(BatchSampler(sampler, self.batch_size, drop_last=True)):
            if number < self.first:
                continue
            own = batch[self.rank * part : (self.rank + 1) * part]
            self.indices.append(own)
            yield [Draw(self.epoch, index) for index in own] if self.seeded else own


class Seeded(Dataset[Any]):
    """A data set whose augmentation depends on seed, epoch and sample alone.

    So the samples are the same however many processes and loading workers share them, and whether
    or not the run was interrupted.
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Any:
        seed_everything(self.seed, draw.epoch, draw.index)
        return self.dataset[draw.index]


def seed_everything(*parts: int) -> None:
    """Seed the generators of torch, numpy and Python by several numbers."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little")
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what a user's data set may draw from
    random.seed(seed)


def loader_of(dataset: Dataset[Any], order: Order, *, workers: int, seed: int) -> DataLoader[Any]:
    """Batches of a data set in an order."""
    return DataLoader(
        Seeded(dataset, seed) if order.seeded else dataset,
        batch_sampler=order,
        num_workers=workers,
        # A loader draws from its generator when it starts. Workers stay from epoch to epoch, and a
        # run that is taken up again starts them anew: theirs must not be the one of the order.
        generator=order.generator if not workers else torch.Generator().manual_seed(seed),
        persistent_workers=workers > 0,
    )
