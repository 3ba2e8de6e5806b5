"""Channels that training gave up: scales of weights that kernels would refuse, or biases."""

import networks
import numpy as np
import pytest
import torch
from torch import nn

from exporter.compress import compress


class Faint(nn.Module):
    """[N, 3, 32, 24] to [N, 4, 32, 24]: the first channel's weights nearly vanish when folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.bn.weight[0], self.bn.bias[0] = 1e-12, 0.75

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x)).relu()


class Dead(nn.Module):
    """[N, 3, 32, 24] to [N, 4, 32, 24]: what reads a dead channel alone has no variance."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.first.bias[:] = torch.tensor([-1000.0, 2.0, 2.0, 2.0])
            self.conv.weight[1] = 0.5
            self.conv.weight[0] = torch.tensor([3.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
            self.bn.running_var[0] = 1e-27
            self.bn.bias[0] = 0.25

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(self.first(x).relu())).relu()


def assert_first_is(value, module, folder, *, trained, **options):
    """The first channel is this everywhere, and the second one is alive."""
    grids = None
    if trained:
        compressor = compress(module)
        compressor.share()
        grids = compressor.finish()
    made = networks.make(module, folder, grids=grids, **options)
    found = networks.run_tflite(made.tflite, networks.frames(4).numpy())
    output = made.graph.tensors[made.graph.outputs[0]].quantization
    real = (found[..., 0].astype(np.float64) - output.zero_point) * output.scale
    np.testing.assert_allclose(real, value, atol=float(output.scale))
    assert len(np.unique(found[..., 1])) > 10


ROUTES = pytest.mark.parametrize("trained", [False, True], ids=["quantized", "on levels"])


@ROUTES
@pytest.mark.parametrize("small_parts", [False, True])
def test_a_faint_channel_is_its_bias(tmp_path, trained, small_parts):
    module = Faint().eval()
    assert_first_is(0.75, module, tmp_path, trained=trained, small_parts=small_parts)


@ROUTES
def test_what_reads_a_dead_channel_runs(tmp_path, trained):
    assert_first_is(0.25, Dead().eval(), tmp_path, trained=trained)
