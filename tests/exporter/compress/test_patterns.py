"""N:M patterns of recipes: they hold in both files that come out at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from integers import weights_of

from exporter.pipeline import run_recipe

MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def make():
    # Weights with heavy tails, as trained ones have: large ones meet often.
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(24, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
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
factory = "patterns_module:make"
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


@pytest.mark.parametrize(("pattern", "keep", "of"), [("2:4", 2, 4), ("4:8", 4, 8)])
def test_a_recipes_pattern_holds_in_both_files(tmp_path, pattern, keep, of):
    (tmp_path / "patterns_module.py").write_text(MODULE)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("PATTERN", pattern))
    run_recipe(recipe, tmp_path / "out", until="int8 files")
    for form in ("tflite", "onnx"):
        found = fullest(tmp_path / "out", form, of)
        assert len(found) == 4
        assert set(found.values()) == {keep}, form
