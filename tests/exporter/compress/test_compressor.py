from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from exporter.compress import Levels, Plan, Ramp, compress
from exporter.compress.magnitude import global_masks
from exporter.compress.schedule import cubic
from exporter.errors import RecipeError, WeightError


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 5)
    )


def test_masks_survive_momentum_and_weight_decay():
    net = model()
    compressor = compress(net, Plan(exempt=("0",)))
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
    compressor.share()
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
    compressor.share()
    inputs = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        shared = net(inputs)
        compressor.finish()
        assert torch.equal(net(inputs), shared)


def test_masks_and_steps_are_restored():
    net = model()
    compressor = compress(net)
    compressor.prune(0.7)
    compressor.share()
    twin = model()
    twin.load_state_dict(net.state_dict())
    other = compress(twin)
    other.load_state_dict(compressor.state_dict())
    for name, weight in compressor.weights().items():
        assert torch.equal(weight, other.weights()[name])


def test_an_unknown_exempt_layer_is_refused():
    with pytest.raises(RecipeError, match="exempt layer 'stem'"):
        compress(model(), Plan(exempt=("stem",)))


def test_a_weight_that_is_not_finite_is_refused_by_name():
    with pytest.raises(WeightError, match="'a' holds NaN"):
        global_masks({"a": torch.tensor([1.0, float("nan")])}, 0.5)


def test_every_tensor_keeps_a_weight():
    masks = global_masks({"small": torch.full((4,), 1e-6), "large": torch.ones(100)}, 0.5)
    assert bool(masks["small"].any())


def test_sparsity_grows_to_its_end():
    values = [cubic(step / 10, 0.9) for step in range(11)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 0.9)


def test_the_plan_prunes_and_shares_by_itself():
    net = model()
    plan = Plan((Ramp(0.5, 4), Ramp(0.8, 4, hold=2)), every=2, levels=Levels(begin=10))
    compressor = compress(net, plan)
    seen = []
    for _ in range(12):
        compressor.step()
        seen.append(compressor.sparsity())
    assert seen[3] == pytest.approx(0.5, abs=0.01)
    assert seen[7] == pytest.approx(0.8, abs=0.01)
    assert compressor.finish()
    assert seen == sorted(seen)


def test_a_code_book_is_pruned_to_what_is_asked_for():
    plan = Plan((Ramp(0.8, 12),), "uniform", every=2, levels=Levels("kmeans", codes=4, begin=2))
    compressor = compress(model(), plan)
    for _ in range(12):
        compressor.step()
    assert compressor.sparsity() == pytest.approx(0.8, abs=1e-3)


def test_momentum_of_pruned_weights_is_cleared():
    net = model()
    compressor = compress(net, Plan((Ramp(0.9, 0),)))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        net(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        compressor.prune(0.9)
        compressor.step(optimizer)
    momentum = optimizer.state[net[2].weight]["momentum_buffer"]
    assert bool((momentum[net[2].weight == 0] == 0).all())
    assert bool((momentum != 0).any())


def test_frozen_layers_stay_as_they_are():
    net = model()
    net[2].weight.requires_grad_(False)
    before = net[2].weight.clone()
    compressor = compress(net)
    compressor.prune(0.9)
    compressor.share()
    compressor.finish()
    assert torch.equal(net[2].weight, before)
    assert bool((net[4].weight == 0).any())


def test_tied_weights_have_one_mask_and_one_grid():
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net[2].weight = net[0].weight
    compressor = compress(net)
    compressor.prune(0.5)
    compressor.share()
    assert list(compressor.weights()) == ["0.weight"]
    grids = compressor.finish()
    assert type(net[2]) is nn.Linear
    assert set(grids) == {"0.weight", "2.weight"}
    assert torch.equal(net[2].weight, grids["2.weight"].values())


def test_batch_norm_is_measured_anew():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    inputs = torch.randn(16, 3, 8, 8)
    compressor = compress(net)
    compressor.prune(0.5)
    compressor.finish([(inputs[:8], 0), (inputs[8:], 0)])
    with torch.no_grad():
        outputs = net[0](inputs)
    assert torch.allclose(net[1].running_mean, outputs.mean((0, 2, 3)), atol=1e-5)
    assert not net.training
    assert net[1].momentum == 0.1


@pytest.mark.parametrize(
    ("sparsity", "steps", "hold"), [(1.0, 1, 0), (-0.1, 1, 0), (0.5, -1, 0), (0.5, 1, -1)]
)
def test_an_impossible_ramp_is_refused(sparsity, steps, hold):
    with pytest.raises(RecipeError):
        Ramp(sparsity, steps, hold)


class Same(nn.Conv2d):
    """A user's own class, with the forward pass of torch's."""


class Standardised(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight / self.weight.std(), self.bias)


class Dense(nn.Linear):
    pass


def test_subclasses_with_the_same_forward_take_part():
    net = nn.Sequential(Same(3, 8, 3), nn.ReLU(), nn.Flatten(), Dense(8 * 36, 5))
    inputs = torch.randn(2, 3, 8, 8)
    compressor = compress(net)
    compressor.prune(0.9)
    compressor.share()
    assert list(compressor.weights()) == ["0.weight", "3.weight"]
    with torch.no_grad():
        shared = copy.deepcopy(net)(inputs)
        compressor.finish()
        assert torch.equal(net(inputs), shared)
    assert type(net[0]) is Same
    assert type(net[3]) is Dense
    zeros = sum(int((layer.weight == 0).sum()) for layer in (net[0], net[3]))
    assert zeros >= int(0.9 * (net[0].weight.numel() + net[3].weight.numel()))


class Mixed(nn.Module):
    """Layers that take part, and those that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.own = Standardised(8, 8, 3)
        self.up = nn.ConvTranspose2d(8, 8, 2)
        self.row = nn.Conv1d(8, 8, 3)
        self.frozen = nn.Conv1d(8, 8, 3).requires_grad_(False)
        self.attention = nn.MultiheadAttention(8, 2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))


def test_layers_that_are_left_alone_are_named_once():
    left = ["own", "up", "row", "attention", "attention.out_proj", "normed"]
    with pytest.warns(UserWarning, match="keep all their weights") as told:
        compressor = compress(Mixed(), Plan(exempt=("row",)))
    assert list(compressor.weights()) == ["conv.weight"]
    (warning,) = told
    for name in left:
        assert (f"'{name}' (" in str(warning.message)) == (name != "row")
    assert "frozen" not in str(warning.message)
    compress(Mixed(), Plan(exempt=tuple(left)))
