"""Several outputs, their names, signatures and labels."""

from __future__ import annotations

import importlib

import networks
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from exporter.build import CERTIFICATE, GOLDEN, Certificate, load_json
from exporter.cli import app
from exporter.errors import RecipeError
from exporter.onnx_export import to_onnx
from exporter.pipeline import run_recipe
from exporter.progress import Silent
from exporter.quantize.quantize import folded

MODULE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)
        self.kind = nn.Linear(8, 4)

    def forward(self, x):
        features = torch.relu(self.stem(x))
        kind = self.kind(features.mean((2, 3)))
        return self.boxes(features), kind, self.scores(features).sigmoid()

def frames():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randint(0, 256, (64, 16, 12, 3), generator=generator).byte())
"""
RECIPE = """
name = "heads"
[model]
factory = "heads_module:Heads"
weights = "heads.safetensors"
[input]
shape = "1x3x16x12"
mean = [0.5]
std = [0.25]
[data]
calibration = "heads_module:frames"
[verify]
samples = 5
[bench]
seconds = 0.02
"""


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        features = torch.relu(self.stem(x))
        return self.boxes(features), self.scores(features).sigmoid()


def exported(names):
    torch.manual_seed(0)
    network = folded(Heads().eval(), networks.SPEC)
    return to_onnx(network, torch.zeros((2, *networks.SPEC.shape[1:])), "heads", names)


def test_outputs_have_the_names_that_were_given():
    assert [value.name for value in exported(("boxes", "scores")).graph.outputs] == [
        "boxes",
        "scores",
    ]


def test_outputs_are_numbered_without_names():
    assert [value.name for value in exported(()).graph.outputs] == ["output_0", "output_1"]


def test_another_number_of_names_is_refused():
    with pytest.raises(RecipeError, match="2 names"):
        exported(("boxes",))


def test_the_signature_calls_tensors_by_their_names(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    torch.manual_seed(0)
    made = networks.make(Heads().eval(), tmp_path)
    interpreter = Interpreter(str(made.tflite))
    runner = interpreter.get_signature_runner("serving_default")
    frames = networks.frames(1).numpy()
    outputs = runner(input=frames)
    direct = networks.run_tflite_all(made.tflite, frames)
    assert set(outputs) == {"output_0", "output_1"}
    for index, expected in enumerate(direct):
        assert np.array_equal(outputs[f"output_{index}"], expected)
    for one, other in zip(direct, networks.run_onnx_all(made.onnx, frames), strict=True):
        assert np.array_equal(one.transpose(0, 3, 1, 2).astype(int) + 128, other)


def test_a_build_keeps_every_output(tmp_path, monkeypatch):
    """Images and what is none; PTQ; golden values, certificate and smoke test have all of them."""
    (tmp_path / "heads_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    torch.manual_seed(0)
    network = importlib.import_module("heads_module").Heads()
    save_file(network.state_dict(), tmp_path / "heads.safetensors")

    directory = tmp_path / "build"
    run_recipe(tmp_path / "recipe.toml", directory, reporter=Silent())

    arrays = np.load(directory / GOLDEN)
    shapes = {key: array.shape for key, array in arrays.items() if key != "input.0"}
    assert shapes == {"output.0": (5, 8, 6, 4), "output.1": (5, 4), "output.2": (5, 8, 6, 2)}
    certificate = load_json(directory / CERTIFICATE, Certificate)
    assert certificate.verdict == "clean"
    deciding = [row for row in certificate.outputs if row.decides]
    assert {(row.values, row.differing) for row in deciding} == {(5 * (8 * 6 * 6 + 4), 0)}
    done = CliRunner().invoke(app, ["smoke", str(directory)])
    assert done.exit_code == 0, done.output
