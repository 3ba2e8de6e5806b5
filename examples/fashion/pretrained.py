"""MobileNetV2 with ImageNet weights and ten fresh outputs, to be trained on clothes."""

from __future__ import annotations

from torch import nn

from examples.mobilenet_v2 import mobilenet_v2 as photographs

CLASSES = 10


def mobilenet_v2() -> nn.Module:
    """[N, 3, 64, 64] to ten logits; all layers but the last know ImageNet."""
    module = photographs.mobilenet_v2()
    last = module.classifier[-1]
    module.classifier[-1] = nn.Linear(last.in_features, CLASSES)
    nn.init.normal_(module.classifier[-1].weight, 0, 0.01)
    nn.init.zeros_(module.classifier[-1].bias)
    return module
