from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.compress import Levels, Plan, Ramp
from exporter.compress.criteria import criterion_of
from exporter.compress.erk import erk_densities
from exporter.compress.magnitude import global_masks, kth_magnitude
from exporter.compress.nm import Pattern, pattern_mask
from exporter.compress.schedule import grows_at, sparsity_at
from exporter.errors import RecipeError, WeightError


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"stem": (16, 3, 3, 3), "body": (32, 16, 3, 3), "fc": (10, 32)}
    return {
        name: torch.randn(shape, generator=generator) * (1 + place)
        for place, (name, shape) in enumerate(shapes.items())
    }


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-1024.0, 1024.0, width=32), min_size=1, max_size=60),
    place=st.integers(0, 59),
)
def test_the_kth_magnitude_is_that_of_sorting(values, place):
    tensor = torch.tensor(values, dtype=torch.float32)
    k = 1 + place % len(values)
    assert kth_magnitude([tensor[: k // 2], tensor[k // 2 :]], k) == sorted(tensor.abs())[k - 1]


@pytest.mark.parametrize("criterion", ["global", "uniform", "erk"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.97])
def test_a_criterion_reaches_its_sparsity(criterion, sparsity):
    masks = criterion_of(criterion)(weights(), sparsity)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    assert zeros / sum(mask.numel() for mask in masks.values()) == pytest.approx(sparsity, abs=2e-3)


def test_global_spares_the_layers_with_large_weights():
    masks = criterion_of("global")(weights(), 0.5)
    assert masks["stem"].float().mean() < masks["fc"].float().mean()


def test_uniform_is_the_same_everywhere():
    masks = criterion_of("uniform")(weights(), 0.75)
    assert [round(float(mask.float().mean()), 2) for mask in masks.values()] == [0.25] * 3


def test_erk_follows_its_formula():
    shapes = {"a": (64, 64, 3, 3), "b": (128, 128, 3, 3)}
    found = erk_densities(shapes, 0.2)
    raw = {name: sum(shape) / (shape[0] * shape[1] * 9) for name, shape in shapes.items()}
    assert found["a"] / found["b"] == pytest.approx(raw["a"] / raw["b"])
    kept = found["a"] * 64 * 64 * 9 + found["b"] * 128 * 128 * 9
    assert kept == pytest.approx(0.2 * (64 * 64 * 9 + 128 * 128 * 9))


def test_erk_keeps_small_layers_dense():
    found = erk_densities({"stem": (16, 3, 3, 3), "body": (256, 256, 3, 3)}, 0.1)
    assert found["stem"] == 1.0
    assert found["body"] < 0.1


@pytest.mark.parametrize(("keep", "of"), [(2, 4), (4, 8), (1, 4)])
def test_a_pattern_holds_along_the_input_axis(keep, of):
    weight = torch.randn(6, 2 * of + 1, 3, 3)
    mask = pattern_mask(weight, Pattern(keep, of))
    groups = mask[:, : 2 * of].movedim(1, -1).unflatten(-1, (-1, of))
    assert bool((groups.sum(-1) == keep).all())
    assert bool(mask[:, 2 * of :].all())
    pruned = weight.abs().movedim(1, -1)[..., : 2 * of].unflatten(-1, (-1, of))
    smallest_kept = torch.where(groups, pruned, torch.inf).amin(-1)
    largest_gone = torch.where(groups, 0.0, pruned).amax(-1)
    assert bool((smallest_kept >= largest_gone).all())


def test_a_pattern_grows_and_leaves_small_inputs_alone():
    criterion = criterion_of("2:4")
    half, full = criterion(weights(), 0.25), criterion(weights(), 0.5)
    assert bool(full["stem"].all())
    assert float(full["body"].float().mean()) == 0.5
    gone = [sum(int((~mask).sum()) for mask in masks.values()) for masks in (half, full)]
    assert gone[0] == pytest.approx(gone[1] / 2, abs=1)
    assert bool((half["body"] | ~full["body"]).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("criterion", ["global", "uniform", "erk", "2:4"])
def test_what_is_not_finite_is_refused_by_name(criterion, bad):
    broken = weights()
    broken["body"][3, 2, 1, 1] = bad
    with pytest.raises(WeightError, match="'body' holds NaN or infinity"):
        criterion_of(criterion)(broken, 0.5)


def signs(*shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        str(place): torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0
        for place, shape in enumerate(shapes)
    }


@pytest.mark.parametrize("criterion", ["global", "uniform", "erk"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_of_equal_weights_as_many_go_as_are_asked_for(criterion, sparsity):
    masks = criterion_of(criterion)(signs((64, 64, 3, 3), (80, 64)), sparsity)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    count = sum(mask.numel() for mask in masks.values())
    assert zeros == pytest.approx(sparsity * count, abs=1)
    if criterion != "erk":
        for mask in masks.values():
            assert float((~mask).float().mean()) == pytest.approx(sparsity, abs=1e-3)
            assert bool(mask.flatten(1).any(1).all())


def test_the_smallest_go_before_any_of_equal_ones():
    weight = torch.tensor([0.5, -2.0, 2.0, 0.25, 2.0, -2.0, 3.0, 0.0]).reshape(2, 2, 1, 2)
    for memory in (torch.contiguous_format, torch.channels_last):
        mask = global_masks({"a": weight.contiguous(memory_format=memory)}, 0.65)["a"]
        assert mask.flatten().tolist() == [False, True, False, False, True, False, True, False]


def test_a_layer_of_equal_weights_that_all_go_keeps_one():
    masks = global_masks({"small": torch.full((4, 2), -0.1), "large": torch.ones(100)}, 0.5)
    assert int(masks["small"].sum()) == 1
    assert int((~masks["large"]).sum()) == 46


def test_weights_that_are_zero_go_whatever_is_asked_for():
    weight = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert global_masks({"a": weight}, 0.25)["a"].tolist() == [False, False, False, True]


def test_a_layer_of_zeros_stays():
    masks = criterion_of("global")({"dead": torch.zeros(4, 4), "live": torch.randn(8, 8)}, 0.5)
    assert bool(masks["dead"].all())


@pytest.mark.parametrize("name", ["random", "0:4", "4:4", "5:4", "2:"])
def test_an_unknown_criterion_is_refused(name):
    with pytest.raises(RecipeError):
        criterion_of(name)


def test_a_pattern_cannot_be_exceeded():
    with pytest.raises(RecipeError, match="2:4 cannot reach"):
        Plan((Ramp(0.6, 1),), criterion="2:4")


@pytest.mark.parametrize("levels", [{"step": 0.0}, {"codes": 1}, {"codes": 500}])
def test_impossible_levels_are_refused(levels):
    with pytest.raises(RecipeError):
        Levels(**levels)


def test_ramps_follow_each_other():
    ramps = (Ramp(0.8, 10), Ramp(0.9, 10, hold=5), Ramp(0.95, 10))
    values = [sparsity_at(ramps, step) for step in range(40)]
    assert values == sorted(values)
    assert (values[10], values[20], values[25], values[35]) == (0.8, 0.9, 0.9, 0.95)
    looks = [step for step in range(40) if grows_at(ramps, step, every=4)]
    assert looks == [4, 8, 10, 14, 18, 20, 29, 33, 35]
