"""The example networks as a recipe names them: modules with lively random weights, and frames.

`benchmarks.zoo:NAME` gives a network's calibration frames, for every name in `examples.models.ZOO`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from examples.models import ZOO

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import Dataset

    from exporter.recipe import Recipe

MEAN: Final = (0.5,)
STD: Final = (0.25,)
FRAMES: Final = 16


def network(name: str, small: bool) -> nn.Module:
    """A network of the zoo, whole or narrow, with random weights."""
    return ZOO[name].make(small=small)


def frames(name: str, count: int, *, small: bool) -> torch.Tensor:
    """Random pictures, uint8 [count, H, W, C]."""
    import torch

    pictures = ZOO[name].example(count, small=small, seed=5) * STD[0] + MEAN[0]
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def recipe_of(name: str, folder: Path, *, small: bool, samples: int) -> Recipe:
    """The recipe that exports a network by post-training quantization; writes its weights.

    Args:
        name: of the network.
        folder: where the weights are written.
        small: whether the narrow network is meant.
        samples: how many golden inputs there will be.
    """
    import torch

    from exporter.recipe import Recipe
    from exporter.settings import validate

    entry = ZOO[name]
    weights = folder / "weights.pt"
    torch.save(entry.settled(small=small, count=8).state_dict(), weights)
    shape = "x".join(str(size) for size in (entry.small_shape if small else entry.shape))
    arguments = {"name": name, "small": small}
    size = "narrow" if small else "whole"
    document = {
        "name": "network",
        "model": {
            "factory": "benchmarks.zoo:network",
            "arguments": arguments,
            "weights": str(weights),
        },
        "input": {"shape": shape, "mean": list(MEAN), "std": list(STD)},
        "data": {"calibration": f"benchmarks.zoo:{size}_{name}", "batch_size": 8},
        "verify": {"samples": samples},
        "bench": None,
    }
    return validate(document, Recipe, Path(__file__))


def __getattr__(attribute: str) -> Callable[[], Dataset[Any]]:
    """The data set of `narrow_NAME` or `whole_NAME`, for a recipe: what calibrates a network."""
    size, _, name = attribute.partition("_")
    if size not in ("narrow", "whole") or name not in ZOO:
        raise AttributeError(f"there is no data set '{attribute}'")

    def data_set() -> Dataset[Any]:
        from torch.utils.data import TensorDataset

        return TensorDataset(frames(name, FRAMES, small=size == "narrow"))

    return data_set
