"""`compress(model)`: pruning and few levels in the user's own module and training loop.

    compressor = compress(model, exempt=["conv1"])
    for batch in loader:
        ...
        optimizer.step()
        compressor.step()            # keeps pruned weights at zero

Convolutions and dense layers get a class that reads the weight through the compressor; parameter
names, `state_dict`, the optimizer and the loop stay the user's. `compressor.finish()` gives the
classes back and leaves weights that lie on their grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from exporter.compress.levels import RoundToLevels, layer_step, to_levels
from exporter.compress.magnitude import global_masks
from exporter.errors import RecipeError
from exporter.quantize.fold import Grid, Grids


class _Layer:
    """What the compressor knows of one weight: its mask, and its step once levels are on."""

    def __init__(self, module: nn.Conv2d | nn.Linear) -> None:
        self.module = module
        self.mask: torch.Tensor | None = None
        self.step: float | None = None

    def weight(self) -> torch.Tensor:
        """The weight that the forward pass uses."""
        weight = self.module.weight
        if self.step is None:
            return weight
        rounded: torch.Tensor = RoundToLevels.apply(weight, self.step)
        return rounded

    def project(self) -> None:
        """Set pruned weights to zero again."""
        if self.mask is not None:
            with torch.no_grad():
                self.module.weight.mul_(self.mask)


class _CompressedConv2d(nn.Conv2d):
    compressed: _Layer

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.compressed.weight(), self.bias)


class _CompressedLinear(nn.Linear):
    compressed: _Layer

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input, self.compressed.weight(), self.bias)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _CompressedConv2d,
    nn.Linear: _CompressedLinear,
}


def compress(model: nn.Module, *, exempt: Iterable[str] = ()) -> Compressor:
    """Prepare a module for pruning and few levels, in place.

    Args:
        model: any module; every nn.Conv2d and nn.Linear in it takes part.
        exempt: names of layers that keep all their weights, such as the first convolution.

    Raises:
        RecipeError: an exempt name that is no layer of the model, or no layer is left.
    """
    return Compressor(model, exempt)


class Compressor:
    """Masks and levels of a module's weights. Make one with `compress`."""

    def __init__(self, model: nn.Module, exempt: Iterable[str]) -> None:
        found = {name: m for name, m in model.named_modules() if type(m) in _CLASSES}
        unknown = sorted(set(exempt) - set(found))
        if unknown:
            raise RecipeError(
                f"exempt layer '{unknown[0]}' is no convolution or dense layer of the model",
                expected=f"names among: {', '.join(found) or 'none'}",
                found=unknown[0],
            )
        self._layers: dict[str, _Layer] = {}
        for name, module in found.items():
            if name not in set(exempt):
                self._layers[f"{name}.weight" if name else "weight"] = _attach(module)
        if not self._layers:
            raise RecipeError(
                "no layer is left to compress",
                expected="at least one nn.Conv2d or nn.Linear that is not exempt",
                found=f"{len(found)} such layers, all exempt" if found else "none in the model",
            )

    def prune(self, sparsity: float) -> None:
        """Prune by magnitude over all layers together, to this share of zeros."""
        masks = global_masks(self._latent(), sparsity)
        for name, layer in self._layers.items():
            layer.mask = masks[name]
            layer.project()

    def share(self, step_in_rms: float) -> None:
        """Read every weight through levels of one step a layer from now on."""
        for layer in self._layers.values():
            layer.step = layer_step(layer.module.weight, step_in_rms)

    def step(self) -> None:
        """Call after `optimizer.step()`: pruned weights go back to zero."""
        for layer in self._layers.values():
            layer.project()

    def sparsity(self) -> float:
        """The share of zeros among the weights, as the forward pass sees them."""
        weights = self.weights().values()
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        return zeros / sum(weight.numel() for weight in weights)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights as the forward pass sees them, by parameter name."""
        with torch.no_grad():
            return {name: layer.weight().detach() for name, layer in self._layers.items()}

    def finish(self) -> Grids:
        """Give the module its classes back; its weights then lie on their grids.

        Returns:
            The grids of the weights that have levels, by parameter name.
        """
        grids: Grids = {}
        for name, layer in self._layers.items():
            if layer.step is not None:
                grids[name] = _grid(layer, layer.step)
                layer.module.weight.data.copy_(grids[name].values())
            _detach(layer.module)
        return grids

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Masks and steps, to be saved beside the model's own state."""
        state = {}
        for name, layer in self._layers.items():
            if layer.mask is not None:
                state[f"mask.{name}"] = layer.mask
            if layer.step is not None:
                state[f"step.{name}"] = torch.tensor(layer.step, dtype=torch.float64)
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take masks and steps back.

        Raises:
            RecipeError: they are of another model.
        """
        for key, value in state.items():
            kind, _, name = key.partition(".")
            layer = self._layers.get(name)
            if layer is None or (kind == "mask" and value.shape != layer.module.weight.shape):
                raise RecipeError(
                    f"the saved {kind} of '{name}' does not fit the model",
                    remedy="start without --resume",
                )
            if kind == "mask":
                layer.mask = value.bool()
            else:
                layer.step = float(value)

    def _latent(self) -> dict[str, torch.Tensor]:
        return {name: layer.module.weight for name, layer in self._layers.items()}


def _attach(module: Any) -> _Layer:
    layer = _Layer(module)
    module.__class__ = _CLASSES[type(module)]
    # Past nn.Module's own bookkeeping: the layer must not show in state_dict or parameters.
    object.__setattr__(module, "compressed", layer)
    return layer


def _detach(module: Any) -> None:
    module.__class__ = type(module).__mro__[1]
    object.__delattr__(module, "compressed")


def _grid(layer: _Layer, step: float) -> Grid:
    weight = layer.module.weight.detach()
    integers = to_levels(weight, step)
    scale = torch.full((len(weight),), step, dtype=torch.float32)
    return Grid(integers.to(torch.int8), scale, layer.mask)
