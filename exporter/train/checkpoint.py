"""Checkpoints inside a stage: everything that the next step depends on, in one safetensors file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from exporter.build import replacing
from exporter.errors import BuildError

VERSION: Final = "1"
LARGEST_SHARE: Final = 0.05
"""Of the time, for writing: the next checkpoint waits longer where the last one took long."""

Tensors = dict[str, torch.Tensor]


class Part(Protocol):
    """Something beside the module whose state a checkpoint holds."""

    def state_dict(self) -> Tensors:
        """Its state."""

    def load_state_dict(self, state: Tensors, /) -> None:
        """Take a state back."""


@dataclass
class Checkpoints:
    """Where and how often a stretch of training is saved.

    Attributes:
        path: the file; it is replaced, never kept twice.
        key: of everything that the training depends on; a file with another key is not taken.
        resume: go on from the file, if it is there.
        seconds: between two checkpoints; 0 turns them off.
        steps: between two checkpoints, in addition; 0 leaves it to the seconds.
        parts: further state by name, such as a compressor's.
    """

    path: Path
    key: str = ""
    resume: bool = False
    seconds: float = 60.0
    steps: int = 0
    parts: Mapping[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self, step: int) -> bool:
        """Whether it is time to save behind this step."""
        if self.steps and step % self.steps == 0:
            return True
        wait = max(self.seconds, self._cost / LARGEST_SHARE)
        return self.seconds > 0 and time.monotonic() - self._last >= wait

    def save(self, tensors: Tensors, numbers: Mapping[str, Any]) -> None:
        """Write the file, whole or not at all.

        Args:
            tensors: the loop's own.
            numbers: what JSON holds.
        """
        started = time.monotonic()
        everything = dict(tensors)
        for name, part in self.parts.items():
            everything |= {f"part.{name}.{key}": t for key, t in part.state_dict().items()}
        document = json.dumps(dict(numbers))
        write_tensors(
            self.path, everything, {"version": VERSION, "key": self.key, "numbers": document}
        )
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self) -> tuple[Tensors, dict[str, Any]] | None:
        """The loop's tensors and numbers; parts take theirs. None: there is nothing to go on from.

        Raises:
            BuildError: the file is damaged.
        """
        if not self.resume or not self.path.is_file():
            return None
        tensors, notes = read_tensors(self.path)
        if notes.get("version") != VERSION or notes.get("key") != self.key:
            return None
        for name, part in self.parts.items():
            part.load_state_dict(within(tensors, f"part.{name}."))
        return tensors, json.loads(notes["numbers"])

    def remove(self) -> None:
        """Remove the file: the stage is finished."""
        self.path.unlink(missing_ok=True)


def within(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """The tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], notes: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all; they may share memory, on any device."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        storage = plain.untyped_storage()
        # The format has no shared memory, and no views of a part.
        if storage.data_ptr() in seen or storage.nbytes() != plain.nbytes:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        apart[name] = plain
    with replacing(path) as temporary:
        save_file(apart, temporary, notes)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and notes of a safetensors file.

    Raises:
        BuildError: it is damaged.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise BuildError(
            f"the checkpoint {path} cannot be read",
            expected="a safetensors file of an interrupted run",
            found=str(error).splitlines()[0][:200],
            remedy="remove it: the stage then starts from its beginning",
        ) from None
