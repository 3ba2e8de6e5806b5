"""A small network whose channels and values differ widely, as trained ones do."""

from __future__ import annotations

import torch
from torch import nn

from exporter.quantize.capture import capture
from exporter.quantize.edit import finish_edit
from exporter.quantize.fold import fold_batch_norm
from exporter.quantize.rewrites import normalise, simplify

SAMPLE = (4, 12, 12)


class Outliers(nn.Module):
    """A trunk of 8 channels with sizes from 1 to 30, depthwise layers, a shortcut, a dense end."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, padding=1)
        self.expand = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.project = nn.Conv2d(16, 8, 1, bias=False)
        self.head = nn.Conv2d(8, 16, 1)
        self.fc = nn.Linear(16, 5)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        trunk = self.stem(x)
        inner = self.activation(self.depthwise(self.activation(self.expand(trunk))))
        trunk = trunk + self.project(inner)
        return self.fc(self.activation(self.head(trunk)).mean((2, 3)))


def network(activation: nn.Module | None = None, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = Outliers(activation or nn.ReLU()).eval()
    spread = torch.logspace(-1.0, 0.5, 8)
    with torch.no_grad():
        module.stem.weight *= spread.reshape(-1, 1, 1, 1)
        module.stem.bias *= spread
        module.project.weight *= spread.reshape(-1, 1, 1, 1)
        for reader in (module.expand, module.head):
            reader.weight /= spread.reshape(1, -1, 1, 1)
        module.expand.weight *= torch.logspace(-1.0, 0.5, 16).reshape(-1, 1, 1, 1)
        for layer in (module.expand, module.depthwise, module.head):
            layer.bias += 0.2
    return module


def inputs(count: int, seed: int = 1, *, outliers: bool = False) -> torch.Tensor:
    """Noise [count, 4, 12, 12]; with `outliers`, two values are far out."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((count, *SAMPLE), generator=generator)
    if outliers:
        x[0, 0, 5, 5], x[-1, 1, 6, 6] = 25.0, -25.0
    return x


def graph(module: nn.Module) -> torch.fx.GraphModule:
    """The folded graph, as `prepare_module` makes it before it plans."""
    graph_module = capture(module, inputs(2))
    normalise(graph_module, SAMPLE)
    fold_batch_norm(graph_module, {})
    simplify(graph_module, SAMPLE)
    finish_edit(graph_module)
    return graph_module
