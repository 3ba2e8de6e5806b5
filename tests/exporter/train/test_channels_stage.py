"""Channel pruning in a recipe: what follows trains the narrow network, after a resume as well."""

from __future__ import annotations

import json

import pytest
import stages_only
import torch
from safetensors.torch import load_file

from exporter.errors import RecipeError
from exporter.pipeline import run_recipe
from exporter.progress import Silent
from exporter.recipe import load_recipe
from exporter.stages.channels import bare_module
from exporter.stages.context import Context
from exporter.stages.train import trained_module

CHANNELS = """
[channels]
macs = 0.7
importance = "taylor"
multiple = 8
epochs = 1
lr = 0.05
"""


def recipe(folder, channels=CHANNELS):
    path = stages_only.write(folder)
    path.write_text(path.read_text() + channels)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("channels")
    path = recipe(folder)
    stages_only.run_stages(folder / "out", resume=False)
    return path, folder / "out"


def context_of(path, directory):
    return Context(load_recipe(path), path.parent, directory, Silent())


def test_all_stages_behind_have_the_narrow_network(trained):
    path, out = trained
    shapes = {
        stage: load_file(out / "stages" / f"{stage}.safetensors")[key].shape
        for stage, key in (
            ("fp32", "3.weight"),
            ("narrowed", "3.weight"),
            ("pruned", "model.3.weight"),
            ("shared", "model.3.weight"),
        )
    }
    assert shapes.pop("fp32") == (16, 8, 3, 3)
    assert set(shapes.values()) == {(8, 8, 3, 3)}
    module, grids = trained_module(context_of(path, out))
    assert module[3].out_channels == module[4].num_features == module[9].in_features == 8
    assert grids["3.weight"].integers.shape == (8, 8, 3, 3)
    assert module(torch.zeros(2, 1, 16, 16)).shape == (2, 4)


def test_a_resume_takes_the_same_network_up(trained):
    _, out = trained
    before = (out / "stages" / "shared.safetensors").read_bytes()
    for name in ("pruned", "shared"):
        (out / "stages" / f"{name}.safetensors").unlink()
    written = (out / "stages" / "narrowed.safetensors").stat().st_mtime_ns
    stages_only.run_stages(out, resume=True)
    assert (out / "stages" / "narrowed.safetensors").stat().st_mtime_ns == written
    assert (out / "stages" / "shared.safetensors").read_bytes() == before


def test_a_run_ends_where_it_was_asked_to(trained):
    _, out = trained
    stages = json.loads((out / ".stages.json").read_text())["stages"]
    assert list(stages) == ["train", "channels", "prune", "share"]
    assert not list(out.glob("tiny.*"))


def test_a_stage_that_the_run_does_not_have_is_no_end(trained):
    path, out = trained
    with pytest.raises(RecipeError, match=r"channels, prune, share, quantize.*\n.*found: +disti"):
        run_recipe(path, out, until="distil")


def test_the_widths_are_beside_the_weights(trained):
    path, out = trained
    widths = json.loads((out / "stages" / "narrowed.json").read_text())
    assert widths["attributes"]["3"] == {"out_channels": 8}
    context = context_of(path, out)
    bare_module(context, context.state_path("narrowed"))
    (out / "stages" / "narrowed.json").rename(out / "kept.json")
    with pytest.raises(RecipeError, match="do not fit"):
        context.module(context.state_path("narrowed"))
    (out / "kept.json").rename(out / "stages" / "narrowed.json")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", "expected one of: macs, parameters"),
        ("macs = 0.5\nparameters = 0.5", "expected one of: macs, parameters"),
    ],
)
def test_a_section_with_another_target_is_refused(tmp_path, target, message):
    path = recipe(tmp_path, f"\n[channels]\nepochs = 1\nlr = 0.1\n{target}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)
