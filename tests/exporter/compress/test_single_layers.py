"""Sparsities and steps of single layers: in the plan, and in the integers of the shipped files."""

from __future__ import annotations

from dataclasses import replace

import networks
import numpy as np
import pytest
import torch
from integers import weights_of

from exporter.compress import Levels, Plan, Ramp, compress
from exporter.compress.levels import layer_step
from exporter.compress.names import values_by_layer
from exporter.compress_recipe import PruneSection, ShareSection
from exporter.errors import RecipeError
from exporter.quantize.quantize import prepare_module
from exporter.stages.plans import levels_of, prune_plan

LAYERS = ["stem", "conv", "depthwise", "point", "fc"]
OWN = {"conv": 0.9, "p*": 0.25}
STEPS = {"conv": 0.2, "fc": 1.2}


def zeros(weight) -> float:
    return float((weight == 0).mean())


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_sparsities_and_steps_are_in_the_file(tmp_path, form):
    module = networks.network()
    prune = PruneSection(sparsity=0.5, criterion="uniform", layers=OWN, epochs=1, lr=0.1)
    share = ShareSection(step=0.35, layers=STEPS, epochs=1, lr=0.1)
    compressor = compress(module, prune_plan(prune, 10))
    for _ in range(10):
        compressor.step()
    pruned = {name: weight.clone() for name, weight in compressor.weights().items()}
    compressor.share(levels_of(share))
    made = networks.make(module, tmp_path, grids=compressor.finish())
    found = {name.partition("_weight")[0]: data for name, data in weights_of(made, form)}
    assert sorted(found) == sorted(LAYERS)
    for name, data in found.items():
        live = pruned[f"{name}.weight"]
        assert float((live == 0).float().mean()) == pytest.approx(
            {"conv": 0.9, "point": 0.25}.get(name, 0.5), abs=0.01
        )
        assert zeros(data) >= {"conv": 0.9, "point": 0.25}.get(name, 0.5) - 0.01
        if name == "stem":  # takes the frames' std in, channel by channel
            continue
        step = layer_step(live, STEPS.get(name, 0.35))
        assert np.abs(data).max() == round(float(live.abs().max()) / step)


@pytest.mark.parametrize("std", [(0.2, 0.3, 0.4), (0.3,)])
def test_levels_that_a_std_per_channel_breaks_are_told(std):
    module = networks.network()
    compressor = compress(module)
    compressor.share()
    spec = replace(networks.SPEC, std=std)
    prepared = prepare_module(module, spec, [networks.frames(4)], grids=compressor.finish())
    told = [note for note in prepared.notes if "ships with many" in note]
    assert len(told) == (len(std) > 1)
    assert all(note.startswith("stem.weight: ") for note in told)


def test_single_layers_are_as_far_along_as_the_ramps():
    module = networks.network()
    plan = Plan((Ramp(0.6, 10),), "uniform", every=1, layers={"conv": 0.9})
    compressor = compress(module, plan)
    for _ in range(4):
        compressor.step()
    grown = 1 - 0.6**3
    weights = compressor.weights()
    for name, final in (("conv", 0.9), ("stem", 0.6)):
        share = float((weights[f"{name}.weight"] == 0).float().mean())
        assert share == pytest.approx(grown * final, abs=0.01)
    held = plan.held_at(4)
    assert held.layers["conv"] == pytest.approx(grown * 0.9)
    assert held.sparsity == pytest.approx(grown * 0.6)


def test_layers_alone_leave_the_others_whole():
    section = PruneSection(layers={"conv": 0.8}, epochs=1, lr=0.1)
    module = networks.network()
    compressor = compress(module, prune_plan(section, 20))
    seen = []
    for _ in range(12):
        compressor.step()
        weight = compressor.weights()["conv.weight"]
        seen.append(float((weight == 0).float().mean()))
    assert seen[-1] == pytest.approx(0.8, abs=0.01)
    assert 0.0 < seen[9] < 0.8
    assert not any((w == 0).any() for n, w in compressor.weights().items() if n != "conv.weight")


def test_steps_to_come_count_in_the_size():
    compressor = compress(networks.network())
    coarse = compressor.coded_size(0.35, {"*": 2.0}).weights
    assert coarse < compressor.coded_size(0.35, {"conv": 2.0}).weights
    assert compressor.coded_size(0.35, {"conv": 2.0}).weights < compressor.coded_size(0.35).weights


def test_a_tied_weight_answers_to_either_name():
    module = networks.network()
    module.twin = torch.nn.Linear(24, 7)
    module.twin.weight = module.fc.weight
    compressor = compress(module, Plan((Ramp(0.0, 0),), layers={"twin": 0.5}))
    compressor.prune(0.0)
    assert float((compressor.weights()["fc.weight"] == 0).float().mean()) == pytest.approx(0.5)


def test_a_name_goes_before_patterns():
    found = values_by_layer({"conv": 0.1, "c*": 0.2, "*v": 0.2}, ["conv", "conv2", "cv"], "x")
    assert found == {"conv": 0.1, "conv2": 0.2, "cv": 0.2}


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ({"cnv": 0.5}, "'cnv' is no layer that takes part(.|\n)*did you mean 'conv'"),
        ({"layer9.*": 0.5}, "no layer that takes part(.|\n)*exempt and frozen"),
        ({"co*": 0.5, "*nv": 0.6}, "two values(.|\n)*name the layer itself"),
    ],
)
def test_mistakes_in_names_are_named(patterns, words):
    with pytest.raises(RecipeError, match=words):
        compress(networks.network(), Plan(layers=patterns))
    with pytest.raises(RecipeError, match=words):
        compress(networks.network()).share(Levels(layers=patterns))


def test_an_exempt_layer_takes_no_part():
    with pytest.raises(RecipeError, match="'stem' is no layer that takes part"):
        compress(networks.network(), Plan(exempt=("stem",), layers={"stem": 0.5}))


@pytest.mark.parametrize(
    ("section", "keys", "words"),
    [
        (PruneSection, {"layers": {"a": 1.0}}, "less than 1"),
        (PruneSection, {}, "or layers alone"),
        (ShareSection, {"layers": {"a": 0.0}}, "greater than 0"),
        (ShareSection, {"layers": {"a": 0.5}, "levels": "kmeans"}, 'levels = "uniform"'),
    ],
)
def test_values_out_of_range_are_refused(section, keys, words):
    with pytest.raises(ValueError, match=words):
        section(epochs=1, lr=0.1, **keys)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plan(layers={"a": 1.0}),
        lambda: Levels(layers={"a": 0.0}),
        lambda: Levels("kmeans", layers={"a": 0.5}),
    ],
)
def test_plans_refuse_them_too(make):
    with pytest.raises(RecipeError):
        make()
