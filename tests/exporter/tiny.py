"""A recipe that builds in seconds, and the command line to build it with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODULE = '''
import torch
from torch import nn
from torch.utils.data import TensorDataset

def make():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))

def data(seed=0):
    """Noise, brighter in the quarter that is the label."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 120, (256, 16, 16, 1), generator=generator)
    labels = torch.randint(0, 4, (256,), generator=generator)
    for frame, label in zip(frames, labels.tolist()):
        frame[: 4 + 4 * label, : 4 + 4 * label] += 120
    return TensorDataset(frames.to(torch.uint8), labels)

def test():
    return data(1)
'''
RECIPE = """
name = "tiny"
budget = "budget.toml"
[model]
factory = "tiny_pipeline_module:make"
[input]
shape = "1x1x16x16"
mean = [0.4]
std = [0.2]
[data]
train = "tiny_pipeline_module:data"
test = "tiny_pipeline_module:test"
batch_size = 32
[train]
epochs = 6
lr = 0.1
[prune]
sparsity = 0.5
epochs = 2
lr = 0.05
[share]
epochs = 1
lr = 0.02
[output]
onnx_forms = ["qoperator", "s8s8"]
labels = "labels.txt"
[quantize]
epochs = 1
[verify]
samples = 64
layers = true
[bench]
seconds = 0.05
"""
BUDGET = """
[limits."*.int8.*"]
file_bytes = "1 MB"
accuracy_drop = "5 pt"
certificate = "clean"
"""


def edgewright(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "exporter.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


FRAMES = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def frames():
    frames = torch.randint(0, 256, (64, 16, 16, 3), generator=torch.Generator().manual_seed(1))
    return TensorDataset(frames.to(torch.uint8))
"""


def export_network(folder: Path, network: str, *options: str) -> str:
    """Export a class `Network` of 16 x 16 pictures, given as text, to `build`: what was printed."""
    (folder / "exported_network_module.py").write_text(FRAMES + network)
    done = edgewright(
        *("export", "exported_network_module:Network", "--input", "1x3x16x16", "--out", "build"),
        *("--calibration", "exported_network_module:frames", *options),
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_recipe(folder: Path) -> None:
    """Put the recipe, its module and its budget into a folder."""
    (folder / "tiny_pipeline_module.py").write_text(MODULE)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "budget.toml").write_text(BUDGET)
    (folder / "labels.txt").write_text("none\nsmall\nmiddle\nlarge\n")
