"""Errors of `edgewright export` name options, not the keys of a recipe that nobody wrote."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tiny import MODULE
from typer.testing import CliRunner

from exporter.build import Manifest
from exporter.cli import app
from exporter.errors import RecipeError
from exporter.option_words import OPTIONS, as_options
from exporter.recipe import Recipe
from exporter.settings import _table

GOOD = {
    "--input": "1x1x16x16",
    "--calibration": "tiny_pipeline_module:data",
    "--mean": "0.4",
    "--std": "0.2",
}
FAULTS = {
    "a type": ({"--dtype": "int4"}, "--dtype: "),
    "a shape that is none": ({"--input": "1x1x"}, "--input: "),
    "a shape of another rank": ({"--input": "16x16"}, "--input: expected a shape"),
    "means of another count": ({"--mean": "0.1,0.2"}, "--mean does not fit the shape"),
    "a deviation of zero": ({"--std": "0"}, "--std must be positive"),
    "means of floats": ({"--dtype": "float32"}, "take frames with --dtype uint8"),
    "a method": ({"--ptq": "guess"}, "--ptq: "),
    "no samples": ({"--samples": "0"}, "--samples: "),
    "a type between operators": ({"--activations": "int12"}, "--activations: "),
    "layers of int16": (
        {"--activations": "int16", "--int16-layers": "0"},
        "--int16-layers is for a network of int8 values",
    ),
    "a name": ({"--name": "a/b"}, "--name: "),
    "data of another size": ({"--input": "1x1x8x8"}, "the data does not fit --input"),
    "channels": ({"--input": "1x3x16x16"}, "change the shape (--input, 1 x channels"),
    "a type of outputs": ({"--outputs": "int4"}, "--outputs: "),
    "names of outputs": ({"--output-names": "a,b"}, "--output-names do not fit the network"),
    "no labels": ({"--labels": "none.txt"}, "none.txt"),
    "no layer to stay float": (
        {"--float-layers": "9"},
        "--float-layers names '9', which is no layer",
    ),
    "no layer": ({"--int16-layers": "9"}, "--int16-layers names '9', which is no layer"),
}
KEY = re.compile(r"\[(?:model|input|data|quantize|output)\]|\boptions:|\w_(?:layers|samples)\b")


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Runs the command in a folder of its own, with options besides the good ones."""
    (tmp_path / "tiny_pipeline_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "tiny_pipeline_module", raising=False)

    def run(changed):
        options = [text for pair in (GOOD | changed).items() for text in pair]
        arguments = ["export", "tiny_pipeline_module:make", "--out", "out", *options]
        return CliRunner().invoke(app, arguments)

    return run


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_names_the_option(fault, export):
    changed, words = FAULTS[fault]
    found = export(changed)
    assert isinstance(found.exception, RecipeError), found.output
    message = " ".join(str(found.exception).split())
    assert words in message
    assert not KEY.search(message), message


def test_outputs_are_as_the_options_say(export):
    Path("labels.txt").write_text("a\nb\nc\nd\n")
    wished = {"--outputs": "float32", "--output-names": "scores", "--labels": "labels.txt"}
    found = export(wished | {"--float-layers": "auto:1"})
    assert found.exit_code == 0, found.output
    assert re.search(r"warning: float_layers = auto:1 took [038]\n", found.output)
    manifest = Manifest.model_validate_json(Path("out/manifest.json").read_text())
    assert manifest.labels == ("a", "b", "c", "d")
    for artifact in manifest.artifacts:
        assert [(o.name, o.dtype) for o in artifact.outputs] == [("scores", "float32")]


@pytest.mark.parametrize("place", OPTIONS)
def test_every_key_is_one_of_the_recipes(place):
    table, _, key = place.rpartition(".")
    section = _table(Recipe.model_fields[table].annotation) if table else Recipe
    assert key in section.model_fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("options: input.mean.0: not a number", "--mean: not a number"),
        (
            "or data without labels (calibration in [data])",
            "or data without labels (--calibration)",
        ),
        ("[quantize] small_parts is 'x'", "[quantize] small_parts is 'x'"),
        ("frames are uint8 [H, W, C]", "frames are uint8 [H, W, C]"),
    ],
)
def test_words(text, expected):
    assert as_options(text) == expected
