"""What a recipe names against each other, before anything trains: network, input, labels, data."""

from __future__ import annotations

import pytest
from tiny import edgewright, write_recipe

from exporter.errors import RecipeError
from exporter.progress import Silent
from exporter.recipe import load_recipe
from exporter.stages.context import Context
from exporter.stages.network import check_network

MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

FRAMES = torch.zeros((6, 8, 8, 1), dtype=torch.uint8)

def make(channels=1, classes=4):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, classes))

def pairs():
    return TensorDataset(FRAMES, torch.arange(6) % 4)

def frames():
    return FRAMES

def alone():
    return TensorDataset(FRAMES)

def texts():
    return [("a.png", 0)]
"""
RECIPE = """
name = "net"
[model]
factory = "network_check_module:make"
weights = "net.pt"
[input]
shape = "1x1x8x8"
[output]
labels = "labels.txt"
[data]
train = "network_check_module:pairs"
test = "network_check_module:pairs"
calibration = "network_check_module:frames"
"""


@pytest.fixture
def context(tmp_path):
    """A context of the recipe with something in it replaced."""

    def make(old="", new="", names="a\nb\nc\nd\n"):
        (tmp_path / "network_check_module.py").write_text(MODULE)
        (tmp_path / "labels.txt").write_text(names)
        (tmp_path / "recipe.toml").write_text(RECIPE.replace(old, new))
        recipe = load_recipe(tmp_path / "recipe.toml")
        return Context(recipe, tmp_path, tmp_path / "build", Silent())

    return make


@pytest.mark.parametrize("names", ["a\nb\nc\nd\n", "a\n\nb\nc\nd"])
def test_a_network_that_fits_passes(context, names):
    check_network(context(names=names))


@pytest.mark.parametrize(("names", "found"), [("a\nb\nc\n", 3), ("a\nb\nc\nd\ne\n", 5), ("", 0)])
def test_labels_are_as_many_as_classes(context, names, found):
    with pytest.raises(RecipeError, match=rf"labels\.txt(.|\n)*4 lines(.|\n)*{found} lines"):
        check_network(context(names=names))


def test_a_question_of_yes_or_no_may_name_both_answers(context):
    arguments = ('weights = "net.pt"', 'weights = "net.pt"\narguments = { classes = 1 }')
    check_network(context(*arguments, names="no\nyes\n"))


def test_the_number_of_channels_is_the_first_layers(context):
    arguments = ('weights = "net.pt"', 'weights = "net.pt"\narguments = { channels = 3 }')
    with pytest.raises(RecipeError, match=r"3 channels(.|\n)*1x1x8x8; Conv2d '0'") as caught:
        check_network(context(*arguments))
    assert "change the shape ([input] shape, 1 x" in caught.value.remedy


def test_another_size_is_named_with_the_layer_that_it_does_not_fit(context):
    with pytest.raises(RecipeError, match=r"1x1x16x16; Linear '4'") as caught:
        check_network(context("1x1x8x8", "1x1x16x16"))
    assert not caught.value.expected


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize(("data", "found"), [("frames", "Tensor"), ("alone", "tuple of 1")])
def test_data_that_need_labels_have_them(context, name, data, found):
    line = f'{name} = "network_check_module:'
    made = context(f"{line}pairs", f"{line}{data}")
    with pytest.raises(RecipeError, match=rf"\[data\] {name} (.|\n)*without labels(.|\n)*{found}"):
        made.dataset(name)
    assert len(made.dataset("calibration")) == 6


def test_samples_are_arrays(context):
    with pytest.raises(RecipeError, match=r"no arrays(.|\n)*tuple: (.|\n)*torch\.from_numpy"):
        context('test = "network_check_module:pairs', 'test = "network_check_module:texts').dataset(
            "test"
        )


def test_the_command_line_refuses_before_it_trains(tmp_path):
    write_recipe(tmp_path)
    (tmp_path / "labels.txt").write_text("none\nsmall\nlarge\n")
    done = edgewright("run", "recipe.toml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "4 lines, one for each of its outputs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "build").rglob("*.safetensors"))
