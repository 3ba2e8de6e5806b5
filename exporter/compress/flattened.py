"""Dense layers that read flattened images: which they are, and the order of their inputs.

Such a layer's inputs are C x H x W in the module and in ONNX, and H x W x C in a .tflite file, so
that neighbours along its input axis are pixels in the one and channels in the other.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from exporter.compress.structure import trace

_PASSED_LAYERS: Final = (
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Mish),
)
_PASSED_CALLS: Final = {
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "hardswish", "hardsigmoid"),
    *("hardtanh", "clamp", "sigmoid", "tanh", "mish", "dropout", "dropout2d", "contiguous"),
    *("max_pool2d", "boolean_dispatch", "avg_pool2d", "adaptive_avg_pool2d", "add", "mul", "iadd"),
}


def flattened_channels(model: nn.Module) -> dict[str, int]:
    """The channels of the image that a dense layer reads flattened, by the weight's name.

    Found in the code of forward() without running it. Layers behind a part that cannot be followed,
    such as a concatenation, are not here, and none is where forward() branches on values.
    """
    nodes = trace(model) or []
    found = {}
    for node in nodes:
        layer = _layer(model, node)
        if isinstance(layer, nn.Linear):
            channels = _channels(model, node)
            if channels is not None and layer.in_features % channels == 0:
                found[f"{node.target}.weight"] = channels
    return found


def channels_last(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """[out, C * H * W] to [out, H * W * C]."""
    return weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)


def channels_first(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """[out, H * W * C] to [out, C * H * W]."""
    return weight.unflatten(1, (-1, channels)).transpose(1, 2).flatten(1)


def _layer(model: nn.Module, node: torch.fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _channels(model: nn.Module, dense: torch.fx.Node) -> int | None:
    """Channels of the image before the flattening that a dense layer reads; None for no such."""
    flattened = False
    node = dense.args[0]
    while isinstance(node, torch.fx.Node):
        layer = _layer(model, node)
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            return layer.out_channels if flattened else None
        if isinstance(layer, nn.BatchNorm2d):
            return layer.num_features if flattened else None
        if _flattens(node, layer):
            flattened = True
        elif not (isinstance(layer, _PASSED_LAYERS) or _name(node) in _PASSED_CALLS):
            return None
        node = node.args[0] if node.args else None
    return None


def _name(node: torch.fx.Node) -> str:
    """What a node calls; empty for a module."""
    if node.op not in ("call_function", "call_method"):
        return ""
    return str(getattr(node.target, "__name__", node.target))


def _flattens(node: torch.fx.Node, layer: nn.Module | None) -> bool:
    """Whether a node makes rows [N, C * H * W] of images."""
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    rest = node.args[1:]
    if _name(node) == "flatten":
        start = rest[0] if rest else node.kwargs.get("start_dim", 0)
        return len(rest) < 2 and "end_dim" not in node.kwargs and bool(start == 1)
    sizes = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
    return _name(node) in ("view", "reshape") and len(sizes) == 2
