"""Weights from a file, into a module."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from exporter.errors import RecipeError

SAVE = "save it with torch.save(model.state_dict(), path)"
WRAPPERS = {"module.": "DistributedDataParallel or DataParallel", "_orig_mod.": "torch.compile"}
"""What puts a module into another one, and so this before all names."""


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors from .safetensors, or a state dict from .pt/.pth without running any code.

    Raises:
        RecipeError: the file is missing, damaged, or holds something else.
    """
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a TorchScript archive, which is refused behind it
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RecipeError(
            f"weights {path} are missing",
            expected="a state dict saved by torch.save, or .safetensors",
            found="no such file",
            remedy="name another file",
        ) from None
    except Exception as error:  # a damaged pickle makes torch raise almost anything
        raise RecipeError(
            f"weights {path} cannot be read",
            expected="a state dict saved by torch.save, or .safetensors",
            found=_reason(error),
            remedy=f"{SAVE}, where the model still loads",
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not _is_state(state):
        raise _no_state(path, state)
    return state  # type: ignore[no-any-return]


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a state dict into a module.

    Raises:
        RecipeError: names or shapes do not fit; the first few are told.
    """
    state = load_tensors(path)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise RecipeError(
            f"weights {path} do not fit the model",
            found=" ".join(lines)[:400],
            remedy=_remedy(module, state),
        ) from None


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and all(torch.is_tensor(value) for value in state.values())


def _reason(error: Exception) -> str:
    """What torch says, in one line without colours; or the class that it does not load."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
    unknown = re.search(r"Unsupported global: GLOBAL (\S+)", text)
    if unknown is not None:
        return f"an object of {unknown[1]}, perhaps the whole model: loading it would run code"
    line = text.splitlines()[0] if text else "the file ends early"
    # What follows the first sentence of torch's refusal is how to load the file all the same.
    sentence = line.split(". ", maxsplit=1)[0].removesuffix(".")[:200]
    return f"{type(error).__name__}: {sentence}"


def _no_state(path: Path, state: Any) -> RecipeError:
    """The error for a file of something else; a checkpoint may have a state dict inside."""
    found, remedy = type(state).__name__, SAVE
    if isinstance(state, dict):
        found = f"a dict of {', '.join(map(repr, list(state)[:8]))}"
        inside = [key for key, value in state.items() if value and _is_state(value)]
        if inside:
            remedy = f"save what is inside: torch.save(checkpoint[{inside[0]!r}], path)"
    return RecipeError(
        f"weights {path} are no state dict",
        expected="a dict of tensors by name",
        found=found,
        remedy=remedy,
    )


def _remedy(module: nn.Module, state: dict[str, torch.Tensor]) -> str:
    """What to do about a state dict that does not fit."""
    own = module.state_dict()
    for prefix, wrapper in WRAPPERS.items():
        wrapped = state and all(name.startswith(prefix) for name in state)
        if wrapped and not any(name.startswith(prefix) for name in own):
            inner = prefix.rstrip(".")
            return (
                f"all names start with '{prefix}', from {wrapper}: save the module inside, "
                f"torch.save(model.{inner}.state_dict(), path)"
            )
    return "give the factory the arguments that the weights were trained with"
