from __future__ import annotations

import pytest
import torch
from torch import nn

from exporter.compress import Levels, Plan, Ramp, compress
from exporter.compress.codebook import fit_codes
from exporter.compress.rate import REFERENCE, choose_steps
from exporter.errors import RecipeError
from exporter.quantize.scheme import to_grid, weight_scale


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 5)
    )


def batches(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 8, 8, generator=generator) for _ in range(count)]


def test_a_code_book_minimises_the_squared_error():
    values = torch.cat([torch.randn(500) * 0.1 + center for center in (-3.0, 0.5, 2.0)])
    book, _ = fit_codes(values, None, 3)
    means = book.means(values, None)
    assert book.count == 3
    assert sorted(means.unique().tolist()) == pytest.approx([-3.0, 0.5, 2.0], abs=0.05)
    nearest = means.unique()[(values[:, None] - means.unique()).abs().argmin(1)]
    assert torch.equal(nearest, means)


def test_weights_of_a_centroid_move_together():
    net = model()
    compressor = compress(net, Plan((Ramp(0.5, 0),)))
    compressor.prune(0.5)
    compressor.share(Levels("kmeans", codes=4))
    before = {name: weight.clone() for name, weight in compressor.weights().items()}
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
    for batch in batches(3):
        optimizer.zero_grad()
        net(batch).square().mean().backward()
        optimizer.step()
        compressor.step(optimizer)
    for name, weight in compressor.weights().items():
        assert len(weight[weight != 0].unique()) <= 4
        assert bool((weight[before[name] == 0] == 0).all())
    assert any(not torch.equal(w, before[name]) for name, w in compressor.weights().items())


def test_the_gradient_of_a_centroid_is_the_sum_of_its_weights():
    net = nn.Linear(6, 1, bias=False)
    compressor = compress(net)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 1.1, 1.2, -2.0, -2.1, -2.2]]))
    compressor.share(Levels("kmeans", codes=2))
    net(torch.tensor([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]])).sum().backward()
    # Summed over a centroid's weights, and shared out among them.
    assert net.weight.grad.tolist() == [[2.0, 2.0, 2.0, 20.0, 20.0, 20.0]]


def test_code_books_are_restored():
    net, twin = model(), model()
    compressor = compress(net)
    compressor.prune(0.6)
    compressor.share(Levels("kmeans", codes=8))
    twin.load_state_dict(net.state_dict())
    other = compress(twin)
    other.load_state_dict(compressor.state_dict())
    for batch in batches(1):
        for one in (net, twin):
            one(batch).square().mean().backward()
    assert torch.equal(net[2].weight.grad, twin[2].weight.grad)


@pytest.mark.parametrize("levels", [Levels("kmeans"), Levels(), Levels(step="auto")])
def test_a_dead_layer_and_a_handful_of_weights_get_levels(levels):
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        net[1].weight.zero_()
    compressor = compress(net, calibration=batches())
    compressor.prune(0.5)
    compressor.share(levels)
    grids = compressor.finish()
    assert not bool(grids["1.weight"].integers.any())
    assert all(bool((grid.scale > 0).all()) for grid in grids.values())


def test_steps_by_rate_take_fewer_bits_for_no_more_error():
    net = model()
    with torch.no_grad():
        net[2].weight.mul_(torch.rand_like(net[2].weight) ** 4)
    layers = compress(net)._layers
    chosen = choose_steps(net, layers, batches())
    fixed = choose_steps(net, layers, batches(), candidates=())
    assert {choice.step_in_rms for choice in fixed.values()} == {REFERENCE}
    assert len({choice.step_in_rms for choice in chosen.values()}) > 1
    assert sum(c.error for c in chosen.values()) <= sum(c.error for c in fixed.values())
    assert sum(c.bits for c in chosen.values()) < sum(c.bits for c in fixed.values())
    assert not net[2]._forward_hooks


def test_the_step_auto_needs_data():
    compressor = compress(model())
    with pytest.raises(RecipeError, match="there is none"):
        compressor.share(Levels(step="auto"))


def heavy_tailed(seed: int = 0) -> torch.Tensor:
    """A weight [64, 64, 3, 3] as training leaves it: long tails, channels of unequal size."""
    generator = torch.Generator().manual_seed(seed)
    spread = (0.5 * torch.randn(64, 1, 1, 1, generator=generator)).exp()
    values = torch.randn(64, 64, 3, 3, generator=generator)
    return 0.05 * spread * values * values.abs()


def test_a_code_book_of_floats_does_not_survive_the_fold():
    pruned = heavy_tailed()
    mask = pruned.abs() > pruned.abs().flatten().kthvalue(int(0.9 * pruned.numel())).values
    book, _ = fit_codes(pruned, mask, 16)
    floats = book.means(pruned, mask)
    factors = torch.linspace(0.5, 1.5, 64).reshape(-1, 1, 1, 1)
    folded = floats * factors
    integers = to_grid(folded, weight_scale(folded, pair_rule=True), pair_rule=True)
    assert len(floats.unique()) == 17
    assert len(integers.unique()) > 2 * 17
