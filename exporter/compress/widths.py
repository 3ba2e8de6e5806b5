"""A narrowed module: which sizes channel pruning left, and how to give them to a fresh module.

The record holds numbers alone and is applied without torch-pruning, so that weights which were
saved with it load into the user's own class whatever found the widths:

    widths = Widths.model_validate_json(Path("narrowed.json").read_text())
    module = narrow(make_model(), widths)
    module.load_state_dict(weights)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from exporter.build import Frozen
from exporter.errors import RecipeError

Size = int | tuple[int, ...]


class Widths(Frozen):
    """What differs between a module and its narrowed form.

    Attributes:
        attributes: by module name, such as {"layer1.0.conv1": {"out_channels": 48}}.
        shapes: of parameters and buffers, by their names.
    """

    attributes: dict[str, dict[str, Size]]
    shapes: dict[str, tuple[int, ...]]

    @property
    def layers(self) -> dict[str, int]:
        """The outputs of the layers whose outputs were pruned, by name."""
        found = {}
        for name, sizes in self.attributes.items():
            size = sizes.get("out_channels", sizes.get("out_features"))
            if isinstance(size, int):
                found[name] = size
        return found


def sizes_of(module: nn.Module) -> Widths:
    """All sizes of a module: integer attributes of its layers, shapes of its tensors."""
    attributes = {
        name: {key: value for key, value in vars(part).items() if _is_size(key, value)}
        for name, part in module.named_modules()
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return Widths(attributes=attributes, shapes=shapes)


def difference(before: Widths, after: Widths) -> Widths:
    """What of `after` is not as in `before`."""
    attributes = {
        name: {k: v for k, v in sizes.items() if before.attributes[name].get(k) != v}
        for name, sizes in after.attributes.items()
    }
    return Widths(
        attributes={name: sizes for name, sizes in attributes.items() if sizes},
        shapes={n: shape for n, shape in after.shapes.items() if before.shapes[n] != shape},
    )


def narrow(module: nn.Module, widths: Widths) -> nn.Module:
    """Give a fresh module its narrowed sizes, in place; load its weights next.

    Tied parameters stay tied. Until weights are loaded, the tensors hold the first values of the
    wider ones.

    Returns:
        The module itself.

    Raises:
        RecipeError: the widths are of another model.
    """
    parts = dict(module.named_modules())
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    for kind, named, known in (
        ("module", widths.attributes, parts),
        ("tensor", widths.shapes, tensors),
    ):
        unknown = sorted(set(named) - set(known))
        if unknown:
            raise RecipeError(
                f"the saved widths name a {kind} '{unknown[0]}' that the model lacks",
                expected="the model that was narrowed",
                remedy="give the factory the same arguments, or start without --resume",
            )
    replaced: dict[int, Any] = {}
    for name, shape in widths.shapes.items():
        old = tensors[name]
        new = replaced.get(id(old))
        if new is None:
            new = replaced[id(old)] = _cut(old, shape, name)
        owner, _, attribute = name.rpartition(".")
        setattr(parts[owner], attribute, new)
    for name, sizes in widths.attributes.items():
        for key, value in sizes.items():
            setattr(parts[name], key, value)
    return module


def _cut(tensor: torch.Tensor, shape: tuple[int, ...], name: str) -> torch.Tensor:
    fits = len(shape) == tensor.dim() and all(map(int.__le__, shape, tensor.shape))
    if not fits:
        raise RecipeError(
            f"the saved widths do not fit '{name}'",
            expected=f"at most {tuple(tensor.shape)}",
            found=f"{shape}",
            remedy="give the factory the same arguments, or start without --resume",
        )
    cut = tensor.detach()[tuple(slice(size) for size in shape)].clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(cut, requires_grad=tensor.requires_grad)
    return cut


def _is_size(key: str, value: object) -> bool:
    if key.startswith("_") or isinstance(value, bool):
        return False
    several = isinstance(value, tuple) and bool(value)
    sizes = value if several else (value,)
    return all(type(size) is int for size in sizes)  # type: ignore[attr-defined]
