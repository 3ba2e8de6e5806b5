"""Random weights made lively, so that a network that nobody trained behaves like one that was."""

from __future__ import annotations

import torch
from torch import nn

LOUDEST = 8.0
"""How much a dense layer, once centred, is amplified at most.

Behind a global pooling pictures differ little, and classes should differ all the same. In the gates
of squeeze-and-excite, which are convolutions here, the same would amplify small differences from
block to block without bound, so only dense layers are.
"""

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def settle(model: nn.Module, example: torch.Tensor, seed: int = 0) -> nn.Module:
    """Give a network with random weights plausible activations, in place.

    Fresh networks are poor test objects: activations fade or grow with depth, batch norms know
    nothing, and every picture gets the same class. So, in one pass over `example`: each
    convolution and dense layer is scaled to unit variance and, where it has a bias, centred by
    channel (P. Krähenbühl et al., arXiv:1511.06856; D. Mishkin, J. Matas, arXiv:1511.06422); each
    batch norm takes the mean and variance that it sees and gets random factors and offsets.

    Args:
        model: in evaluation mode at the end.
        example: [N, C, H, W], N at least 4 for statistics that mean something.
        seed: of the batch norms' factors and offsets.

    Returns:
        The model.

    Raises:
        ValueError: the example has fewer than two pictures, which have no variance.
    """
    if len(example) < 2:
        raise ValueError(f"settle() expects at least 2 pictures, found {len(example)}: give more")
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    hooks = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.3, generator=generator)
            hooks.append(module.register_forward_pre_hook(_learn_statistics))
        elif isinstance(module, Layer):
            hooks.append(module.register_forward_hook(_unit_variance))
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return model


def _learn_statistics(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance.clamp(min=1e-3))


def _unit_variance(layer: Layer, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    """Centre and scale the layer, and give what it would have given."""
    spread = output.std()
    if layer.bias is not None:
        axis = output.dim() - 1 if isinstance(layer, nn.Linear) else 1
        mean = output.mean([other for other in range(output.dim()) if other != axis], keepdim=True)
        layer.bias.sub_(mean.flatten())
        output = output - mean
        if isinstance(layer, nn.Linear):
            spread = torch.maximum(output.std(), spread / LOUDEST)
    spread = spread.clamp(min=1e-3)
    if layer.bias is not None:
        layer.bias.div_(spread)
    layer.weight.div_(spread)
    return output / spread
