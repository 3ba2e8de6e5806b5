from __future__ import annotations

import pytest
import torch
from torch import nn

from exporter.compress import compress
from exporter.compress.magnitude import global_masks
from exporter.compress.schedule import cubic
from exporter.errors import RecipeError


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 5)
    )


def test_masks_survive_momentum_and_weight_decay():
    net = model()
    compressor = compress(net, exempt=["0"])
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    for step in range(8):
        loss = net(torch.randn(4, 3, 8, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 2:
            compressor.prune(0.8)
            dead = net[2].weight == 0
        compressor.step()
    assert bool((net[2].weight[dead] == 0).all())
    assert abs(compressor.sparsity() - 0.8) < 0.01
    assert bool((net[0].weight != 0).all())


def test_names_and_classes_stay_the_users():
    net = model()
    names = list(net.state_dict())
    compressor = compress(net)
    compressor.prune(0.5)
    compressor.share(0.35)
    assert list(net.state_dict()) == names
    grids = compressor.finish()
    assert type(net[0]) is nn.Conv2d
    assert type(net[4]) is nn.Linear
    for name, grid in grids.items():
        assert torch.equal(dict(net.named_parameters())[name], grid.values())
        assert grid.integers.abs().max() <= 64
        assert len(grid.integers.unique()) < 40


def test_the_forward_pass_uses_the_levels():
    net = model()
    compressor = compress(net)
    compressor.share(0.35)
    inputs = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        shared = net(inputs)
        compressor.finish()
        assert torch.equal(net(inputs), shared)


def test_masks_and_steps_are_restored():
    net = model()
    compressor = compress(net)
    compressor.prune(0.7)
    compressor.share(0.35)
    twin = model()
    twin.load_state_dict(net.state_dict())
    other = compress(twin)
    other.load_state_dict(compressor.state_dict())
    for name, weight in compressor.weights().items():
        assert torch.equal(weight, other.weights()[name])


def test_an_unknown_exempt_layer_is_refused():
    with pytest.raises(RecipeError, match="exempt layer 'stem'"):
        compress(model(), exempt=["stem"])


def test_a_weight_that_is_not_finite_is_refused_by_name():
    with pytest.raises(ValueError, match="'a' holds NaN"):
        global_masks({"a": torch.tensor([1.0, float("nan")])}, 0.5)


def test_every_tensor_keeps_a_weight():
    masks = global_masks({"small": torch.full((4,), 1e-6), "large": torch.ones(100)}, 0.5)
    assert bool(masks["small"].any())


def test_sparsity_grows_to_its_end():
    values = [cubic(step / 10, 0.9) for step in range(11)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 0.9)
