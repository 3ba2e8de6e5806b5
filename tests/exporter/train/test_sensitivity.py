"""The sensitivity scan: what it measures, what it proposes, and that the proposal builds."""

from __future__ import annotations

import json
import tomllib
import xml.dom.minidom

import pytest
import stages_only
import torch
from torch import nn

from exporter.compress.proposal import Option, Setting, exchange, hull
from exporter.compress.sensitivity import measure, prunable, scan
from exporter.errors import RecipeError
from exporter.progress import Silent
from exporter.recipe import load_recipe
from exporter.sensitivity import Wanted, run_sensitivity
from exporter.stages import train
from exporter.stages.context import Context
from exporter.stages.weights import load_tensors


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    ).eval()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn((24, 1, 8, 8), generator=generator)
    return [(inputs[:16], network()(inputs[:16]).argmax(1)), (inputs[16:], torch.zeros(8).long())]


def test_a_point_is_the_network_with_that_layer_changed_alone():
    model, data = network(), batches()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = scan(model, data, (0.5, 0.9), (0.3,))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [layer.name for layer in found.layers] == ["0", "4"]
    assert (found.loss, found.accuracy) == measure(model, data)
    dense = found.layers[1]
    weight = model[4].weight.data
    threshold = weight.abs().flatten().kthvalue(round(0.9 * weight.numel())).values
    model[4].weight.data = weight * (weight.abs() > threshold)
    loss, accuracy = measure(model, data)
    assert dense.sparsities[1].loss == pytest.approx(loss)
    assert dense.sparsities[1].accuracy == accuracy
    assert dense.coded_bytes > dense.sparsities[0].coded_bytes > dense.sparsities[1].coded_bytes > 0
    assert dense.steps[0].coded_bytes < dense.coded_bytes


def test_shared_and_frozen_layers():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[2].weight.requires_grad_(False)
    assert list(prunable(model)) == ["0"]


def option(size: float, loss: float) -> Option:
    return Option(Setting(sparsity=0.0, step=None, coded_bytes=size), loss)


def test_the_hull_leaves_out_what_is_dear():
    points = [option(100, 0.0), option(90, 0.5), option(50, 0.6), option(60, 0.9), option(20, 2.0)]
    assert [one.setting.coded_bytes for one in hull(points)] == [100, 50, 20]


def test_bytes_are_exchanged_where_they_cost_least_loss():
    options = {
        "cheap": [option(100, 0.0), option(50, 0.1), option(40, 1.0)],
        "dear": [option(100, 0.0), option(90, 0.1), option(80, 0.5)],
    }
    sizes = {n: o.setting.coded_bytes for n, o in exchange(options, 0.15).items()}
    assert sizes == {"cheap": 50, "dear": 100}
    sizes = {n: o.setting.coded_bytes for n, o in exchange(options, 0.2).items()}
    assert sizes == {"cheap": 50, "dear": 90}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sensitivity")
    path = stages_only.write(folder)
    train.train(Context(load_recipe(path), folder, folder / "out", Silent()))
    return path


def test_the_proposal_is_pasted_and_trained(trained, tmp_path):
    wanted = Wanted(sparsities=(0.5, 0.9), steps=(0.2, 0.5), samples=40, allowed_loss=0.2)
    found, text = run_sensitivity(trained, trained.parent / "out", wanted)
    out = trained.parent / "out"
    assert found.weights.endswith("stages/fp32.safetensors")
    assert found.scan.samples == 40
    assert json.loads((out / "sensitivity.json").read_text())["proposal"]["layers"].keys() == {
        "0",
        "3",
        "9",
    }
    assert found.proposal.summed_loss <= 0.2
    xml.dom.minidom.parse(str(out / "sensitivity.svg"))  # noqa: S318 - our own file
    picture = (out / "sensitivity.svg").read_text()
    assert all(f">{words}</text>" in picture for words in ("loss, nats", "accuracy", "100 %"))

    path = stages_only.write(tmp_path)
    path.write_text(path.read_text() + text)
    document = tomllib.loads(path.read_text())
    assert document["prune"]["layers"].keys() == document["share"]["layers"].keys()
    stages_only.run_stages(tmp_path / "out", resume=False)
    state = load_tensors(tmp_path / "out" / "stages" / "shared.safetensors")
    for name, setting in found.proposal.layers.items():
        mask = state[f"mask.{name}.weight"]
        assert 1 - float(mask.float().mean()) == pytest.approx(setting.sparsity, abs=0.02)
        assert f"step.{name}.weight" in state


@pytest.mark.parametrize(
    ("old", "new", "pasted"),
    [
        ("[share]\n", '[share]\nlevels = "kmeans"\n', {"prune"}),
        ("[share]\n", "[prune.layers]\n9 = 0.5\n[share]\n", {"share"}),
        ("[prune]\n", "[prune]\nlayers = {}\n", {"share"}),
        ("[share]\n", "[share.layers]\n9 = 0.3\n[share]\n", {"prune"}),
        ("[share]\nepochs = 1.5\nlr = 0.02\nfreeze_batch_norm = 0.4\n", "", {"prune", "share"}),
    ],
)
def test_a_recipe_takes_what_is_pasted(trained, tmp_path, old, new, pasted):
    path = stages_only.write(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    weights = trained.parent / "out" / "stages" / "fp32.safetensors"
    wanted = Wanted(weights=weights, sparsities=(0.5,), steps=(0.35,), samples=16)
    _, text = run_sensitivity(path, tmp_path / "out", wanted)
    path.write_text(path.read_text() + text)
    recipe = load_recipe(path)
    layers = {"prune": recipe.prune.layers, "share": recipe.share.layers}
    assert {name for name, own in layers.items() if len(own) == 3} == pasted
    for name in {"prune", "share"} - pasted:
        assert f"[{name}.layers]" in text  # in a comment


def test_without_weights_it_says_what_to_do(tmp_path):
    path = stages_only.write(tmp_path)
    with pytest.raises(RecipeError, match=r"no trained weights(.|\n)*edgewright run"):
        run_sensitivity(path, tmp_path / "out", Wanted())


@pytest.mark.parametrize(
    "wanted", [Wanted(sparsities=(1.0,)), Wanted(steps=(0.0,)), Wanted(samples=0)]
)
def test_values_out_of_range_are_refused(tmp_path, wanted):
    with pytest.raises(RecipeError, match="out of range"):
        run_sensitivity(stages_only.write(tmp_path), None, wanted)
