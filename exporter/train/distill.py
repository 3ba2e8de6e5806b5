"""Distillation: a network learns another's outputs beside the targets.

loss = (1 - alpha) * loss(outputs, targets) + alpha * T^2 * KL(teacher / T, outputs / T)
(G. Hinton, O. Vinyals, J. Dean, arXiv:1503.02531, section 2).

The teacher's outputs for a sample are the same in every epoch if the sample is: then they are
computed once and kept in a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from exporter.errors import RecipeError
from exporter.train import randomness
from exporter.train.order import seed_everything

PROBES: Final = 64
"""Samples that are drawn twice to see whether a data set is deterministic."""

LARGEST_CACHE: Final = 4 * 2**30
"""Bytes. Beyond, the teacher is run at every step: it is no longer the slower way."""


class Cache:
    """A teacher's outputs by sample, in a file that is mapped into memory, not read into it.

    The file has no name: it is gone with the process, whatever ends that.

    Args:
        folder: that the file lies in.
        samples: of the data set.
        width: outputs of one sample.
    """

    def __init__(self, folder: Path, samples: int, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as it is used
        self._outputs = np.memmap(self._file, np.float32, "w+", shape=(samples, width))
        self._known = np.zeros(samples, np.bool_)

    def get(self, indices: Sequence[int]) -> torch.Tensor | None:
        """Outputs [N, width], if those of all samples are known."""
        if not self._known[indices].all():
            return None
        return torch.from_numpy(np.array(self._outputs[indices]))

    def put(self, indices: Sequence[int], outputs: torch.Tensor) -> None:
        """Keep the outputs [N, width] of some samples."""
        self._outputs[indices] = outputs.float().cpu().numpy()
        self._known[indices] = True

    def remove(self) -> None:
        """Remove the file."""
        self._outputs._mmap.close()  # type: ignore[attr-defined]
        self._file.close()


class Teacher:
    """A trained network whose outputs another one learns.

    Args:
        module: the network; it is put into evaluation mode.
        to_model: turns inputs of the data set into what it takes.
        temperature: softens both distributions.
        alpha: weight of the teacher against the targets, in [0, 1].
        cache: a folder and the number of samples, where samples are the same in every epoch.
    """

    def __init__(
        self,
        module: nn.Module,
        to_model: Callable[[torch.Tensor], torch.Tensor],
        *,
        temperature: float,
        alpha: float,
        cache: tuple[Path, int] | None = None,
    ) -> None:
        self._module = module.eval().requires_grad_(requires_grad=False)
        self._to_model = to_model
        self.temperature, self.alpha = temperature, alpha
        self._place = cache
        self._cache: Cache | None = None
        self.runs = 0

    def __call__(self, indices: Sequence[int], inputs: torch.Tensor) -> torch.Tensor:
        """The teacher's outputs [N, classes, ...] for samples, on their device.

        Args:
            indices: of the samples in the data set.
            inputs: the samples.

        Raises:
            RecipeError: it gives no classes.
        """
        known = self._cache.get(indices) if self._cache is not None else None
        if known is not None:
            return known.to(inputs.device)
        self.runs += 1
        with torch.no_grad():
            outputs: Any = self._module.to(inputs.device)(self._to_model(inputs))
        if not torch.is_tensor(outputs) or outputs.dim() < 2:
            raise RecipeError(
                "the network cannot be taught by its outputs",
                expected="one output [N, classes, ...]",
                found=f"{type(outputs).__name__} of {len(outputs)}",
                remedy="leave [distill] out, and put what shall be learned into loss in [data]",
            )
        self._keep(indices, outputs)
        return outputs

    def _keep(self, indices: Sequence[int], outputs: torch.Tensor) -> None:
        if self._place is None:
            return
        if self._cache is None:
            folder, samples = self._place
            if samples * outputs[0].numel() * 4 > LARGEST_CACHE or outputs.dim() != 2:
                self._place = None
                return
            self._cache = Cache(folder, samples, outputs.shape[1])
        self._cache.put(indices, outputs)

    def blend(
        self, value: torch.Tensor, outputs: torch.Tensor, taught: torch.Tensor
    ) -> torch.Tensor:
        """The loss with the teacher's part.

        Args:
            value: the loss against the targets.
            outputs: [N, classes, ...], of the network that learns.
            taught: of that shape, the teacher's; each place of an image counts as a sample does.

        Raises:
            RecipeError: the two networks' outputs differ in shape.
        """
        if outputs.shape != taught.shape:
            raise RecipeError(
                "the teacher's outputs do not fit the network's",
                expected=f"{list(outputs.shape)}",
                found=f"{list(taught.shape)}",
                remedy="take a teacher for the same classes",
            )
        soft = nn.functional.kl_div(
            nn.functional.log_softmax(outputs.float() / self.temperature, 1),
            nn.functional.log_softmax(taught.float() / self.temperature, 1),
            reduction="none",
            log_target=True,
        )
        soft = soft.sum(1).mean()
        return (1.0 - self.alpha) * value + self.alpha * self.temperature**2 * soft

    def close(self) -> None:
        """Remove what was kept on disk."""
        if self._cache is not None:
            self._cache.remove()
            self._cache = None


def is_deterministic(dataset: Dataset[Any]) -> bool:
    """Whether a data set gives the same samples each time.

    Some samples from all over it are drawn twice, from differently seeded generators. Augmentation
    that leaves all of them alike by chance would be taken for none: one that touches a sample in
    twenty is, once in 700.
    """
    count = len(dataset)  # type: ignore[arg-type]
    picks = sorted({round(i * (count - 1) / max(1, PROBES - 1)) for i in range(PROBES)})
    with randomness.kept():
        drawn = []
        for attempt in (1, 2):
            seed_everything(attempt)
            drawn.append([torch.as_tensor(_sample(dataset[index])) for index in picks])
    return all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


def _sample(item: Any) -> Any:
    return item[0] if isinstance(item, (tuple, list)) else item
