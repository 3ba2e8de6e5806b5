from __future__ import annotations

import networks
import pytest
import torch
from torch import nn

from exporter.errors import UnsupportedError
from exporter.quantize.quantize import prepare_module


class Gelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return nn.functional.gelu(self.conv(x))


class LonelyNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(torch.relu(self.conv(x)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x) if float(x.sum()) > 0 else x


@pytest.mark.parametrize(
    ("module", "words"),
    [(Gelu, "gelu"), (LonelyNorm, "BatchNorm"), (Branching, "free of branches")],
)
def test_what_has_no_int8_form_is_refused_by_name(module, words):
    with pytest.raises(UnsupportedError, match=words) as caught:
        prepare_module(module().eval(), networks.SPEC, [networks.frames(4)])
    assert caught.value.remedy
