"""What every stage works with."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from exporter.build import sha256_of
from exporter.compress.widths import Widths, narrow
from exporter.errors import RecipeError
from exporter.inputs import InputSpec
from exporter.progress import Advance, Reporter
from exporter.recipe import Recipe, resolve
from exporter.stages.weights import load_weights
from exporter.train.checkpoint import write_tensors
from exporter.train.score import CLASSIFICATION, Task, own_loss, own_score
from exporter.train.team import Team

Figures = dict[str, float]
LABELLED = ("train", "test", "validation")
"""Data sets whose labels are read."""


@dataclass
class Context:
    """One build.

    Attributes:
        recipe: what to build.
        folder: where the recipe's modules are imported from.
        directory: the build directory.
        reporter: what progress is told to.
        team: the processes that train together.
        resume: take up what an interrupted run has left.
        key: of everything that the stage which runs now depends on.
        accuracy: behind the stage before, in [0, 1], where it was measured; on the data that
            choose.
    """

    recipe: Recipe
    folder: Path
    directory: Path
    reporter: Reporter
    team: Team = field(default_factory=Team)
    resume: bool = False
    key: str = ""
    accuracy: float | None = None

    @property
    def spec(self) -> InputSpec:
        """The model's input."""
        return self.recipe.input.spec()

    @property
    def task(self) -> Task:
        """What the network is for: classification, or the loss and the score of the recipe.

        Raises:
            RecipeError: a callable that there is none of.
        """
        data, task = self.recipe.data, CLASSIFICATION
        if data.loss is not None:
            task = replace(task, loss=own_loss(data.loss, resolve(data.loss, self.folder)))
        if data.score is not None:
            task = replace(task, score=own_score(data.score, resolve(data.score, self.folder)))
        return task

    def path(self, suffix: str) -> Path:
        """A file of the build: NAME.suffix."""
        return self.directory / f"{self.recipe.name}.{suffix}"

    def state_path(self, stage: str) -> Path:
        """Where the weights after a training stage are."""
        return self.directory / "stages" / f"{stage}.safetensors"

    def save(self, path: Path, tensors: dict[str, torch.Tensor]) -> None:
        """Write tensors as safetensors, whole or not at all; the main process does it."""
        if self.team.main:
            write_tensors(path, tensors)

    def seed(self) -> None:
        """Make what follows reproducible, whichever generator the user's own code draws from."""
        torch.manual_seed(self.recipe.seed)
        np.random.seed(self.recipe.seed % 2**32)  # noqa: NPY002
        random.seed(self.recipe.seed)

    def module(self, state: Path | None = None, widths: Widths | None = None) -> nn.Module:
        """The user's module in training mode, with the weights of a stage if one is named.

        What a factory gives in evaluation mode, as those of pretrained models do, is put into
        training mode as a whole; in one that trains, parts in evaluation mode stay in it.

        `widths` are what channel pruning left, for the stages behind it.

        Raises:
            RecipeError: the factory fails or gives no module, or the weights do not fit.
        """
        section = self.recipe.model
        return self.made(section.factory, section.arguments, state, widths)

    def made(
        self,
        name: str,
        arguments: dict[str, Any],
        state: Path | None,
        widths: Widths | None = None,
    ) -> nn.Module:
        """The module that a callable gives, with weights if they are named; raises as `module`."""
        factory = resolve(name, self.folder)
        self.seed()
        try:
            module = factory(**arguments)
        except Exception as error:
            raise RecipeError(
                f"'{name}' fails", found=f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, nn.Module):
            raise RecipeError(
                f"'{name}' gives no model",
                expected="a torch.nn.Module",
                found=type(module).__name__,
            )
        if not module.training:
            module.train()
        if widths is not None:
            narrow(module, widths)
        if state is not None:
            load_weights(module, state)
        return module

    def dataset(self, name: str) -> Dataset[Any]:
        """A data set of the recipe: "train", "test", "validation" or "calibration"."""
        data = self.recipe.data
        names = {
            "train": data.train,
            "test": data.test,
            "validation": data.validation or data.test,
            "calibration": data.calibration or data.train,
        }
        factory_name = names[name]
        if factory_name is None:
            raise RecipeError(f"[data] names no {name} data")
        try:
            dataset = resolve(factory_name, self.folder)()
        except RecipeError:
            raise
        except Exception as error:
            raise RecipeError(
                f"'{factory_name}' fails", found=f"{type(error).__name__}: {error}"
            ) from error
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or not len(
            dataset
        ):
            raise RecipeError(
                f"'{factory_name}' gives no data",
                expected="a torch data set with at least one sample",
                found=type(dataset).__name__,
            )
        self._check_sample(dataset[0], f"[data] {name} '{factory_name}'", labelled=name in LABELLED)
        return dataset  # type: ignore[no-any-return]

    def _check_sample(self, item: Any, called: str, *, labelled: bool) -> None:
        """Refuse a data set by its first item."""
        if labelled and not (isinstance(item, (tuple, list)) and len(item) == 2):
            count = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
            raise RecipeError(
                f"{called} gives samples without labels",
                expected="pairs of (sample, label)",
                found=f"{type(item).__name__}{count}",
                remedy="give pairs; data without labels can only calibrate (calibration in [data])",
            )
        try:
            sample = sample_of(item)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RecipeError(
                f"{called} gives samples that are no arrays",
                expected="a tensor or a numpy array, or a pair of it and a label",
                found=f"{type(item).__name__}: {str(error).splitlines()[0]}",
                remedy="turn each sample into a tensor: torch.from_numpy(numpy.array(image))",
            ) from None
        self.spec.check(sample[None])

    def loader(self, name: str, *, shuffle: bool) -> DataLoader[Any]:
        """Batches of a data set; shuffled ones drop the last, smaller one."""
        generator = torch.Generator().manual_seed(self.recipe.seed)
        dataset = self.dataset(name)
        size = min(self.recipe.data.batch_size, len(dataset))  # type: ignore[arg-type]
        return DataLoader(dataset, size, shuffle=shuffle, drop_last=shuffle, generator=generator)

    def calibration(self) -> Iterator[torch.Tensor]:
        """Batches of samples to measure ranges on, up to the recipe's count."""
        left = self.recipe.data.calibration_samples
        self.seed()
        for batch in self.loader("calibration", shuffle=False):
            samples = sample_of(batch)[:left]
            yield samples
            left -= len(samples)
            if left <= 0:
                return

    def sources(self, *names: str | None) -> list[str]:
        """Hashes of the files that callables are written in: part of a stage's key."""
        hashes = []
        for name in names:
            if name is not None:
                path = inspect.getsourcefile(inspect.unwrap(resolve(name, self.folder)))
                hashes.append(sha256_of(Path(path)) if path else name)
        return hashes


def sample_of(item: Any) -> torch.Tensor:
    """The sample of a data set's item or batch, which may carry a label."""
    sample = item[0] if isinstance(item, (tuple, list)) else item
    return torch.as_tensor(sample)


def bar(advance: Advance, steps: Iterable[Any], note: str = "") -> Iterator[Any]:
    """Advance by one behind each step."""
    for step in steps:
        yield step
        advance(1, note)
