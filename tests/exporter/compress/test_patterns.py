"""N:M patterns of recipes: they hold in both files that come out at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from integers import weights_of
from torch import nn

from exporter.compress import Plan, compress
from exporter.compress.flattened import flattened_channels
from exporter.pipeline import run_recipe

MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def make():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(24, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
    return heavy(module)

def flattening():
    torch.manual_seed(0)
    return heavy(nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(96, 24), nn.ReLU(),
        nn.Linear(24, 4)))

def heavy(module):
    # Weights with heavy tails, as trained ones have: large ones meet often.
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(torch.randn(parameter.shape).exp())
    return module

def data():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (64, 16, 16, 1), generator=generator)
    return TensorDataset(frames.to(torch.uint8), torch.arange(64) % 4)
"""
RECIPE = """
name = "n"
[model]
factory = "patterns_module:FACTORY"
[input]
shape = "1x1x16x16"
[data]
train = "patterns_module:data"
[train]
epochs = 1
lr = 0.00001
[prune]
criterion = "PATTERN"
epochs = 2
lr = 0.00001
exempt = ["0"]
"""


def fullest(folder: Path, form: str, of: int) -> dict[str, int]:
    """How many weights the fullest group has, by layer: of those with whole groups."""
    files = SimpleNamespace(tflite=folder / "n.int8.tflite", onnx=folder / "n.int8.onnx")
    found = {}
    for name, data in weights_of(files, form):
        if data.shape[-1] % of == 0:
            groups = data.reshape(*data.shape[:-1], -1, of)
            found[name] = int((groups != 0).sum(-1).max())
    return found


def build(folder: Path, pattern: str, factory: str) -> Path:
    (folder / "patterns_module.py").write_text(MODULE)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.replace("PATTERN", pattern).replace("FACTORY", factory))
    run_recipe(recipe, folder / "out", until="int8 files")
    return folder / "out"


@pytest.mark.parametrize(("pattern", "keep", "of"), [("2:4", 2, 4), ("4:8", 4, 8)])
def test_a_recipes_pattern_holds_in_both_files(tmp_path, pattern, keep, of):
    out = build(tmp_path, pattern, "make")
    for form in ("tflite", "onnx"):
        found = fullest(out, form, of)
        assert len(found) == 4
        assert set(found.values()) == {keep}, form


def test_behind_a_flatten_a_pattern_lies_along_the_channels(tmp_path):
    found = fullest(build(tmp_path, "2:4", "flattening"), "tflite", 4)
    assert len(found) == 3
    assert set(found.values()) == {2}


class Flattening(nn.Module):
    """A dense layer behind an image of 6 channels and 4 pixels, in one way or another."""

    def __init__(self, way: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.fc, self.last = nn.Linear(24, 8), nn.Linear(8, 5)
        self.way = way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn(self.conv(x))), 3)
        return self.last(nn.functional.relu(self.fc(self.way(x))))


WAYS = {
    "flatten": (lambda x: torch.flatten(x, 1), True),
    "method": (lambda x: x.flatten(start_dim=1), True),
    "view": (lambda x: x.view(x.size(0), -1), True),
    "reshape": (lambda x: nn.functional.dropout(x + x).reshape((-1, 24)), True),
    "channels last": (lambda x: x.permute(0, 2, 3, 1).flatten(1), False),
    "doubled": (lambda x: torch.cat((x, x), 1)[:, :6].flatten(1), False),
    "by value": (lambda x: x.flatten(1) if x.sum() > 0 else -x.flatten(1), False),
}


@pytest.mark.parametrize(("way", "found"), WAYS.values(), ids=WAYS)
def test_flattened_images_are_found_in_the_code(way, found):
    module = Flattening(way).eval()
    assert flattened_channels(module) == ({"fc.weight": 6} if found else {})
    compressor = compress(module, Plan(criterion="2:4"))
    compressor.prune(0.5)
    weight = module.fc.weight.detach()
    if found:
        weight = weight.unflatten(1, (6, 4)).transpose(1, 2)
    assert bool(((weight.reshape(8, 6, 4) != 0).sum(-1) == 2).all())
    module(torch.randn(2, 3, 8, 8))
