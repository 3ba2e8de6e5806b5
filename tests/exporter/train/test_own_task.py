"""A recipe with a loss and a score of its own: a network of two outputs, one of them an image."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from exporter.build import ACCURACY, CERTIFICATE, GOLDEN, Accuracy, Certificate, load_json
from exporter.cli import app
from exporter.errors import RecipeError
from exporter.pipeline import run_recipe
from exporter.progress import Silent
from exporter.train.score import own_loss, own_score

MODULE = '''
import torch
from torch import nn
from torch.utils.data import TensorDataset

class Finder(nn.Module):
    """Which of two kinds a square is of, and which pixels it covers and which not."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.mask, self.kind = nn.Conv2d(16, 2, 3, padding=1), nn.Linear(16, 2)

    def forward(self, x):
        features = torch.relu(self.stem(x))
        return self.mask(features), self.kind(features.mean((2, 3)))

def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 60, (128, 12, 8, 1), generator=generator)
    labels = torch.zeros(128, 12 * 8 + 1)
    for index in range(128):
        kind = index % 2
        top, left = (int(torch.randint(0, most, (), generator=generator)) for most in (7, 3))
        frames[index, top : top + 5, left : left + 5] += 100 + 80 * kind
        covered = torch.zeros(12, 8)
        covered[top : top + 5, left : left + 5] = 1
        labels[index] = torch.cat([torch.tensor([float(kind)]), covered.flatten()])
    return TensorDataset(frames.to(torch.uint8), labels)

def test():
    return data(1)

def loss(outputs, labels):
    mask, kind = outputs
    covered = labels[:, 1:].view(-1, 1, 12, 8)
    both = torch.cat([covered, 1 - covered], 1)
    pixels = nn.functional.binary_cross_entropy_with_logits(mask, both)
    return pixels + nn.functional.cross_entropy(kind, labels[:, 0].long())

def score(outputs, labels):
    mask, kind = outputs
    right = (mask[:, 0].flatten(1) > mask[:, 1].flatten(1)) == (labels[:, 1:] > 0)
    return right.double().mean(1) * (kind.argmax(1) == labels[:, 0])
'''
RECIPE = """
name = "finder"
[model]
factory = "own_task_module:Finder"
[input]
shape = "1x1x12x8"
mean = [0.3]
std = [0.3]
[data]
train = "own_task_module:data"
test = "own_task_module:test"
loss = "own_task_module:loss"
score = "own_task_module:score"
batch_size = 16
[loop]
checkpoint_seconds = 0
[train]
epochs = 8
lr = 0.1
[quantize]
epochs = 1
[verify]
samples = 8
[bench]
seconds = 0.02
"""
OUTPUTS, LABELS = (torch.zeros(3, 1), torch.ones(3, 2)), torch.zeros(3, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build, its recipe and its module."""
    path = tmp_path_factory.mktemp("own_task")
    (path / "own_task_module.py").write_text(MODULE)
    (path / "recipe.toml").write_text(RECIPE)
    run_recipe(path / "recipe.toml", path / "build", reporter=Silent())
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # ONNX Runtime's .ort converter
class TestABuild:
    def test_every_file_is_scored_as_the_network_is(self, folder):
        accuracy = load_json(folder / "build" / ACCURACY, Accuracy)
        assert accuracy.metric == "own_task_module:score"
        assert [stage.stage for stage in accuracy.stages] == ["fp32", "QAT"]
        by_stage = {stage.stage: stage.accuracy for stage in accuracy.stages}
        assert by_stage["fp32"] > 0.9  # half of the kinds would be right by chance
        for row in accuracy.rows:
            trained = by_stage["QAT" if "int8" in row.artifact else "fp32"]
            assert row.accuracy == pytest.approx(trained, abs=0.02), row.artifact
            assert (row.correct, row.agreement) == (None, None)

    def test_every_output_is_kept_and_certified(self, folder):
        arrays = np.load(folder / "build" / GOLDEN)
        assert [arrays[f"output.{index}"].shape for index in (0, 1)] == [(8, 12, 8, 2), (8, 2)]
        certificate = load_json(folder / "build" / CERTIFICATE, Certificate)
        assert certificate.verdict == "clean"
        deciding = [row for row in certificate.outputs if row.decides]
        assert {(row.values, row.differing) for row in deciding} == {(8 * (12 * 8 * 2 + 2), 0)}
        done = CliRunner().invoke(app, ["smoke", str(folder / "build")])
        assert done.exit_code == 0, done.output

    def test_budgets_limit_it_and_say_that_no_classes_were_compared(self, folder):
        budget = folder / "budget.toml"
        budget.write_text('[limits."*.int8.tflite"]\naccuracy = "80 %"\nagreement = "90 %"\n')
        done = CliRunner().invoke(
            app, ["check", str(folder / "build"), "--budget", str(budget), "--json"]
        )
        assert done.exit_code == 1, done.output
        lines = {line["limit"]: line for line in json.loads(done.output)["lines"]}
        assert lines["accuracy"]["passed"]
        assert "score of its own" in json.dumps(lines["agreement"])

    def test_sensitivity_is_measured_by_both(self, folder):
        recipe, out = str(folder / "recipe.toml"), str(folder / "build")
        done = CliRunner().invoke(app, ["sensitivity", recipe, "--out", out, "--samples", "64"])
        assert done.exit_code == 0, done.output
        scan = json.loads((folder / "build" / "sensitivity.json").read_text())["scan"]
        accuracy = load_json(folder / "build" / ACCURACY, Accuracy)
        assert scan["accuracy"] == pytest.approx(accuracy.stages[0].accuracy, abs=0.05)
        module = importlib.import_module("own_task_module")
        frames, labels = (part[:64] for part in module.test().tensors)
        assert scan["samples"] == len(labels) == len(frames)


@pytest.mark.parametrize(
    "found",
    [torch.ones(3, 1), torch.ones(4), torch.tensor([0, 2.0, 0]), 0.5, torch.full([3], torch.nan)],
)
def test_a_score_is_a_number_from_0_to_1_for_each_sample(found):
    with pytest.raises(RecipeError, match=r"'m:score' gives no score(.|\n)*a tensor \[3\]"):
        own_score("m:score", lambda outputs, labels: found)(OUTPUTS, LABELS)


@pytest.mark.parametrize("found", [torch.ones(3), 1.0])
def test_a_loss_is_a_scalar(found):
    with pytest.raises(RecipeError, match="'m:loss' gives no loss"):
        own_loss("m:loss", lambda outputs, labels: found)(OUTPUTS, LABELS)


def test_a_callable_that_fails_is_named_with_what_it_was_given():
    def fails(outputs, labels):
        raise ValueError("3 is not 4")

    with pytest.raises(RecipeError, match=r"'m:loss' fails") as caught:
        own_loss("m:loss", fails)(OUTPUTS, LABELS)
    assert "([3, 1], from 0 to 0, [3, 2], from 1 to 1)" in str(caught.value)
    assert "ValueError: 3 is not 4" in str(caught.value)
