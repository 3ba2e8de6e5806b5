"""Networks that are odd: weights that are no numbers, shared, dead, or hardly there."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import tiny
import torch
from torch import nn

from exporter.compress import Levels, Plan, Ramp, compress
from exporter.errors import WeightError
from exporter.inputs import InputSpec
from exporter.quantize.quantize import prepare_module
from exporter.tflite.reader import read_tflite


def test_export_refuses_weights_that_are_no_numbers(tmp_path):
    tiny.write_recipe(tmp_path)
    body = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    body += [nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    module = nn.Sequential(*body, nn.Identity(), nn.Identity(), nn.Linear(16, 4))
    with torch.no_grad():
        module[3].weight[0, 0, 0, 0] = float("nan")
    torch.save(module.state_dict(), tmp_path / "nan.pt")
    done = tiny.edgewright(
        *("export", "tiny_pipeline_module:make", "--input", "1x1x16x16", "--weights", "nan.pt"),
        *("--calibration", "tiny_pipeline_module:data", "--out", "build"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert "'3.weight' holds NaN or infinity" in message
    assert "lower the learning rate" in message


def test_training_that_diverges_is_refused_by_name():
    net = networks.network()
    compressor = compress(net, Plan((Ramp(0.5, 10),), every=1))
    compressor.step()
    with torch.no_grad():
        net.point.weight[0] = float("inf")
    with pytest.raises(WeightError, match=r"'point\.weight' holds NaN or infinity"):
        compressor.step()


@pytest.mark.parametrize("levels", [Levels(), Levels("kmeans")], ids=["uniform", "kmeans"])
def test_levels_refuse_weights_that_became_no_numbers(levels):
    net = networks.network()
    compressor = compress(net)
    with torch.no_grad():
        net.point.weight[0, 0] = float("nan")
    with pytest.raises(WeightError, match=r"'point\.weight' holds NaN or infinity"):
        compressor.share(levels)


@pytest.mark.parametrize("name", ["point.weight", "fc.bias", "bn.running_var"])
def test_what_became_no_number_behind_the_levels_does_not_ship(name):
    net = networks.network()
    compressor = compress(net)
    compressor.share()
    net.state_dict()[name][0] = float("nan")
    with pytest.raises(WeightError, match=f"'{name}' holds NaN or infinity"):
        compressor.finish()
    with pytest.raises(WeightError, match=f"'{name}' holds NaN or infinity"):
        compress(net)


def test_statistics_that_are_no_numbers_can_be_measured_anew():
    net = networks.network()
    compressor = compress(net)
    net.bn.running_var[0] = float("nan")
    compressor.finish([torch.rand(4, 3, 32, 24)])
    assert bool(net.bn.running_var.isfinite().all())


def test_statistics_that_are_no_numbers_are_not_quantized():
    net = networks.network()
    net.bn.running_mean[0] = float("inf")
    with pytest.raises(WeightError, match=r"'bn\.running_mean' holds NaN or infinity"):
        prepare_module(net, InputSpec((1, 3, 32, 24), "float32"), [torch.rand(4, 3, 32, 24)])


class Tied(nn.Module):
    """Two convolutions of one weight, a frozen one, and one of a single weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 16, 3, 2, 1)
        self.stem.weight.requires_grad_(False)
        self.one = nn.Conv2d(16, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.two = nn.Conv2d(16, 16, 3, 1, 1, bias=False)
        self.two.weight = self.one.weight
        self.bn2 = nn.BatchNorm2d(16)
        self.narrow = nn.Conv2d(16, 1, 1)
        self.single = nn.Conv2d(1, 1, 1)
        nn.init.uniform_(self.bn1.weight, -1.5, 1.5)
        nn.init.uniform_(self.bn2.weight, 0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.bn1(self.one(x)))
        x = torch.relu(self.bn2(self.two(x)))
        return self.single(self.narrow(x)).flatten(1)


def test_tied_frozen_and_tiny_layers_ship(tmp_path):
    module = Tied().eval()
    frozen = module.stem.weight.clone()
    compressor = compress(module)
    compressor.prune(0.7)
    compressor.share()
    assert compressor.coded_bytes() > 0
    spec = InputSpec((1, 1, 16, 16), "uint8", (0.5,), (0.25,))
    frames = torch.randint(0, 256, (24, 16, 16, 1), dtype=torch.uint8)
    grids = compressor.finish()
    made = networks.make(module, tmp_path, spec=spec, samples=frames, grids=grids)
    assert torch.equal(module.stem.weight, frozen)
    tensors = read_tflite(made.tflite).tensors
    shared = [t.data for t in tensors if t.data is not None and t.data.shape == (16, 3, 3, 16)]
    assert len(shared) == 2
    assert np.array_equal(np.abs(shared[0]), np.abs(shared[1]))
    assert not np.array_equal(shared[0], shared[1])  # batch norms flip signs, each its own
    assert 0.65 < (shared[0] == 0).mean() < 0.85
    inputs = frames[:8].numpy()
    onnx = networks.run_onnx(made.onnx, inputs).astype(int) - 128
    assert np.array_equal(onnx, networks.run_tflite(made.tflite, inputs).astype(int))


def test_masks_survive_a_resume_in_the_middle_of_a_ramp():
    plan = Plan((Ramp(0.6, 10), Ramp(0.9, 10)), every=2)

    def train(net: nn.Module, compressor, optimizer, steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            optimizer.zero_grad()
            net(torch.randn(4, 3, 32, 24, generator=generator)).square().mean().backward()
            optimizer.step()
            compressor.step(optimizer)

    def fresh() -> tuple[nn.Module, object, torch.optim.Optimizer]:
        net = networks.network()
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=0.01)
        return net, compress(net, plan), optimizer

    whole, halted, resumed = fresh(), fresh(), fresh()
    train(*whole, range(25))
    train(*halted, range(7))
    for one, other in zip(halted, resumed, strict=True):
        other.load_state_dict(one.state_dict())
    train(*resumed, range(7, 25))
    assert resumed[1].sparsity() == pytest.approx(0.9, abs=0.01)
    for name, weight in whole[1].weights().items():
        assert torch.equal(weight, resumed[1].weights()[name]), name
