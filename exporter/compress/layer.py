"""A layer under compression: its class is swapped for one that reads the weight through this."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from exporter.compress.codebook import CodeBook, ShareGradients, fit_codes
from exporter.compress.levels import RoundToLevels, layer_step, to_levels
from exporter.quantize.fold import Grid


class Layer:
    """One weight, the modules that share it, its mask, and its step once levels are on.

    Attributes:
        names: of the parameter; the first is the one it goes by.
        modules: convolutions or dense layers; more than one where the weight is tied.
        mask: bool, the weight's shape; False where a weight is pruned. None: nothing is.
        step: of the layer's grid; None without levels.
        codes: which weights share a value; None where each has its own level.
    """

    def __init__(self, name: str, module: nn.Conv2d | nn.Linear) -> None:
        self.names = [name]
        self.modules: list[Any] = [module]
        self.mask: torch.Tensor | None = None
        self.step: float | None = None
        self.codes: CodeBook | None = None

    def tie(self, name: str, module: nn.Conv2d | nn.Linear) -> None:
        """Add a module that has the same weight, and the weight's name there."""
        self.names.append(name)
        self.modules.append(module)

    @property
    def latent(self) -> nn.Parameter:
        """The weight that the optimizer moves."""
        weight: nn.Parameter = self.modules[0].weight
        return weight

    def weight(self) -> torch.Tensor:
        """The weight that the forward pass uses."""
        if self.step is None:
            return self.latent
        latent = self.latent
        if self.codes is not None:
            latent = ShareGradients.apply(latent, self.codes, self.mask)
        rounded: torch.Tensor = RoundToLevels.apply(latent, self.step)
        return rounded

    def share(self, step_in_rms: float) -> None:
        """Read the weight through uniform levels from now on."""
        self.step, self.codes = layer_step(self.latent, step_in_rms), None

    def share_codes(self, count: int) -> None:
        """Read the weight through a code book of so many values from now on, beside zero."""
        self.codes, self.step = fit_codes(self.latent, self.mask, count)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Set pruned weights to zero again, and those of a code book to their mean."""
        if self.mask is not None:
            self.mask = self.mask.to(self.latent.device)
        if self.codes is not None:
            self.latent.copy_(self.codes.means(self.latent, self.mask))
        elif self.mask is not None:
            self.latent.mul_(self.mask)

    def clear(self, state: dict[str, Any]) -> None:
        """Forget what an optimizer remembers of pruned weights: momentum would move them."""
        if self.mask is None:
            return
        for value in state.values():
            if torch.is_tensor(value) and value.shape == self.latent.shape:
                value.mul_(self.mask)

    def grid(self) -> Grid:
        """The integers and the scale, one for all channels.

        Raises:
            ValueError: the layer has no levels.
        """
        if self.step is None:
            raise ValueError("a layer without levels has no grid")
        weight = self.latent.detach().cpu()
        scale = torch.full((len(weight),), self.step, dtype=torch.float32)
        mask = None if self.mask is None else self.mask.cpu()
        integers = to_levels(weight, self.step).to(torch.int8)
        return Grid(integers, scale, mask, trains=self.codes is None)

    def attach(self) -> None:
        """Swap the classes, in place."""
        for module in self.modules:
            module.__class__ = _compressed(type(module))
            # Past nn.Module's own bookkeeping: it must not show in state_dict or parameters.
            object.__setattr__(module, "compressed", self)

    def detach(self) -> None:
        """Give the modules their classes back."""
        for module in self.modules:
            module.__class__ = type(module).__mro__[1]
            object.__delattr__(module, "compressed")


class _CompressedConv2d(nn.Conv2d):
    compressed: Layer

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.compressed.weight(), self.bias)


class _CompressedLinear(nn.Linear):
    compressed: Layer

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input, self.compressed.weight(), self.bias)


_CLASSES: dict[type[nn.Module], Any] = {
    nn.Conv2d: _CompressedConv2d,
    nn.Linear: _CompressedLinear,
}
_WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
_READ_ELSEWHERE = nn.modules.linear.NonDynamicallyQuantizableLinear
"""The last layer of nn.MultiheadAttention, which takes the weight and does not call the layer."""


def takes(module: nn.Module) -> bool:
    """Whether compression takes a layer: nn.Conv2d, nn.Linear, subclasses with their forward()."""
    return _base_of(type(module)) is not None and isinstance(
        module._parameters.get("weight"), nn.Parameter
    )


def left_alone(model: nn.Module) -> dict[str, str]:
    """The classes of layers with weights that train and that compression does not take, by name."""
    return {
        name: type(module).__name__
        for name, module in model.named_modules()
        if isinstance(module, _WEIGHTED)
        and not takes(module)
        and any(parameter.requires_grad for parameter in module.parameters())
    }


def layers_by_weight(model: nn.Module) -> list[dict[str, Any]]:
    """The layers that compression takes: modules by name, those that share a weight together.

    Frozen weights are left out.
    """
    found: dict[int, dict[str, Any]] = {}
    for name, module in model.named_modules():
        if takes(module) and module.weight.requires_grad:  # type: ignore[union-attr]
            found.setdefault(id(module.weight), {})[name] = module
    return list(found.values())


def _base_of(kind: type[nn.Module]) -> type[nn.Module] | None:
    """The class whose forward pass a class has, of those that compression takes."""
    if issubclass(kind, nn.Conv2d):
        same = kind.forward is nn.Conv2d.forward
        return nn.Conv2d if same and kind._conv_forward is nn.Conv2d._conv_forward else None
    same = kind.forward is nn.Linear.forward
    return nn.Linear if same and not issubclass(kind, _READ_ELSEWHERE) else None


def _compressed(kind: type[nn.Module]) -> Any:
    """The class that a layer of this class gets."""
    if kind not in _CLASSES:
        forward = _CLASSES[_base_of(kind)].forward
        _CLASSES[kind] = type(f"Compressed{kind.__name__}", (kind,), {"forward": forward})
    return _CLASSES[kind]
