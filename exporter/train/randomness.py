"""The state of all random generators of a process, as tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

State = Mapping[str, torch.Tensor]


def capture() -> dict[str, torch.Tensor]:
    """The generators of torch (each device), numpy and Python."""
    _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the one that data sets draw from
    version, words, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(),
        "numpy.keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy.rest": torch.tensor([float(value) for value in rest], dtype=torch.float64),
        "python.words": torch.tensor([version, *words], dtype=torch.int64),
        "python.gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        for number, device in enumerate(torch.cuda.get_rng_state_all()):
            state[f"cuda.{number}"] = device
    return state


def restore(state: State) -> None:
    """Take a captured state back; devices that are not here are left out."""
    torch.set_rng_state(state["torch"])
    position, has_gauss, cached = state["numpy.rest"].tolist()
    keys = state["numpy.keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))  # noqa: NPY002
    version, *words = state["python.words"].tolist()
    gauss = state["python.gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda.{number}" in state:
            torch.cuda.set_rng_state(state[f"cuda.{number}"], number)


@contextmanager
def kept() -> Iterator[None]:
    """Leave the generators as they were, whatever is drawn inside."""
    state = capture()
    try:
        yield
    finally:
        restore(state)
