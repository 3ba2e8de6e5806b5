from __future__ import annotations

import networks
import pytest
import torch
from torch import nn

from exporter.errors import UnsupportedError
from exporter.quantize.quantize import Calibration, prepare_module


class CumulativeSum(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x).cumsum(1)


class BatchStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return self.bn(torch.relu(self.conv(x)))


class Causal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True)


class OverTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        return y - y.mean(0, keepdim=True)


class EarlyThreshold(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return nn.functional.softplus(self.conv(x), threshold=2.0)


class RealPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        return y.argmax(1, keepdim=True).float() * y


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x) if float(x.sum()) > 0 else x


class Tokens(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.conv, self.layer = nn.Conv2d(3, 4, 1), layer

    def forward(self, x):
        return self.layer(self.conv(x).flatten(2).transpose(1, 2))[0]


class Recurrent(Tokens):
    def __init__(self):
        super().__init__(nn.LSTM(4, 2, batch_first=True))


class Sorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x).sort(1)[0]


class Attention(Tokens):
    def __init__(self):
        super().__init__(nn.MultiheadAttention(4, 2, batch_first=True))

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return self.layer(tokens, tokens, tokens)[0]


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return torch.nonzero(self.conv(x))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (CumulativeSum, "cumsum"),
        (BatchStatistics, "running statistics"),
        (Branching, "free of branches"),
        (Causal, "masked"),
        (EarlyThreshold, "threshold is 2.0"),
        (RealPositions, "positions that are computed with"),
        (OverTheBatch, "over the batch"),
        (Attention, r"view 'view\w*' cannot be exported: Cannot view a tensor"),
        (Positions, "nonzero 'nonzero' cannot be exported: the shape of its result"),
    ],
)
def test_what_has_no_int8_form_is_refused_by_name(module, words):
    with pytest.raises(UnsupportedError, match=words) as caught:
        prepare_module(module().eval(), networks.SPEC, [networks.frames(4)])
    assert caught.value.remedy


@pytest.mark.parametrize(("module", "words"), [(Recurrent, "no int8 form"), (Sorted, "'sort'")])
@pytest.mark.parametrize("steps", [{"pair_channels": True}, {"equalize": True}])
def test_several_results_of_one_operator_are_refused_by_name_too(module, words, steps):
    with pytest.raises(UnsupportedError, match=words):
        prepare_module(
            module().eval(), networks.SPEC, [networks.frames(4)], calibration=Calibration(**steps)
        )
