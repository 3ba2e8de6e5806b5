"""Measured layer times: what is measured, as which files, and the command up to pruned channels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from exporter.cli import app
from exporter.compress.layer_times import LayerShape, LayerTimes
from exporter.errors import RecipeError
from exporter.layer_times import SingleLayer, grid_of, layer_file
from exporter.tflite.reader import read_tflite
from exporter.verify.structure import optimized_operators

sys.path.append(str(Path(__file__).parent / "train"))

SHAPES = {
    "CONV_2D": LayerShape(kind="conv", kernel=(3, 3), stride=(2, 2), padding=(1, 1), size=(15, 11)),
    "DEPTHWISE_CONV_2D": LayerShape(kind="depthwise", kernel=(5, 3), padding=(2, 1), size=(16, 12)),
    "FULLY_CONNECTED": LayerShape(kind="dense", size=(1, 7)),
}


def network():
    """Two layers of one kind and of other widths, a depthwise one, and a classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def test_every_kind_over_its_widths():
    grid = grid_of(network(), torch.zeros(1, 3, 8, 8), (0.25, 1.0))
    conv, depthwise, dense = dict.fromkeys(single.shape for single in grid)
    widths = {
        shape.kind: {(s.outputs, s.inputs) for s in grid if s.shape == shape}
        for shape in (conv, depthwise, dense)
    }
    # From the least of the narrowest layer of a kind to all of the widest; colours, classes stay.
    assert widths["conv"] == {(o, i) for o in (8, 16, 64) for i in (8, 16, 64)}
    assert widths["depthwise"] == {(8, 1), (32, 1)}
    assert widths["dense"] == {(10, 8), (10, 32)}


@pytest.mark.parametrize("shares", [(), (0.0, 1.0), (0.5, 1.5)])
def test_shares_out_of_range_are_refused(shares):
    with pytest.raises(RecipeError, match="shares of channels"):
        grid_of(network(), torch.zeros(1, 3, 8, 8), shares)


def test_a_module_without_layers_is_refused():
    with pytest.raises(RecipeError, match="no layers to measure"):
        grid_of(nn.ReLU(), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("operator", list(SHAPES))
def test_a_tflite_holds_the_layer_alone(tmp_path, operator):
    single = SingleLayer(SHAPES[operator], 24, 1 if operator.startswith("DEPTH") else 16)
    file = read_tflite(layer_file(single, tmp_path, "tflite"))
    assert [one.code for one in file.operators] == [operator]
    assert {str(file.tensors[index].dtype) for index in file.operators[0].outputs} == {"int8"}


@pytest.mark.parametrize("operator", list(SHAPES))
def test_an_onnx_holds_the_layer_alone(tmp_path, operator):
    single = SingleLayer(SHAPES[operator], 24, 1 if operator.startswith("DEPTH") else 16)
    found = optimized_operators(layer_file(single, tmp_path, "onnx"))
    kind = "QGemm" if operator == "FULLY_CONNECTED" else "QLinearConv"
    assert dict(found) == {kind: 1}


@pytest.mark.parametrize("runtime", ["tflite", "onnx"])
@pytest.mark.parametrize(
    "shape",
    [
        LayerShape(kind="transposed", kernel=(2, 2), stride=(2, 2), size=(8, 8)),
        LayerShape(kind="grouped", kernel=(3, 3), padding=(1, 1), size=(8, 8), groups=4),
    ],
)
def test_other_kinds_have_files(tmp_path, shape, runtime):
    assert layer_file(SingleLayer(shape, 16, 8), tmp_path, runtime).stat().st_size > 0


RECIPE = """
[channels]
target_ms = {target}
times = "times.json"
multiple = 8
epochs = 1
lr = 0.05
"""


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tflite", "onnx"])
def test_the_table_of_the_command_prunes(tmp_path, monkeypatch, runtime):
    import stages_only

    path = stages_only.write(tmp_path)
    plain = path.read_text()
    table = tmp_path / "times.json"
    options = ["--runtime", runtime, "--seconds", "0.02", "--shares", "0.5,1"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["layer-times", str(path), "-o", str(table), *options])
    assert done.exit_code == 0, done.output
    times = LayerTimes.model_validate_json(table.read_bytes())
    assert times.network_ms > 0
    assert {(row.shape.kind, row.outputs, row.inputs) for row in times.rows} == {
        ("conv", 8, 1),
        ("conv", 8, 8),
        ("conv", 16, 8),
        ("dense", 4, 8),
        ("dense", 4, 16),
    }
    # Times of so small files are noise: what is pruned must not be.
    rows = [r.model_copy(update={"ms": float(r.outputs * r.inputs)}) for r in times.rows]
    table.write_text(times.model_copy(update={"rows": tuple(rows)}).model_dump_json())
    path.write_text(plain + RECIPE.format(target=0.6 * times.network_ms))
    stages_only.run_stages(tmp_path / "out", resume=False)
    widths = json.loads((tmp_path / "out" / "stages" / "narrowed.json").read_text())
    assert widths["attributes"]["3"] == {"out_channels": 8}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("target_ms = 1.0", "target_ms and times"),
        ('times = "times.json"\nmacs = 0.5', "target_ms and times"),
        ('target_ms = 1.0\ntimes = "times.json"\nmacs = 0.5', "expected one of"),
    ],
)
def test_a_target_goes_with_its_table(tmp_path, lines, message):
    import stages_only

    from exporter.recipe import load_recipe

    path = stages_only.write(tmp_path)
    path.write_text(path.read_text() + f"\n[channels]\nepochs = 1\nlr = 0.1\n{lines}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_a_damaged_table_is_refused(tmp_path):
    from exporter.compress.layer_times import load_times

    path = tmp_path / "times.json"
    with pytest.raises(RecipeError, match="cannot be read"):
        load_times(path)
    path.write_text('{"device": "x"}')
    with pytest.raises(RecipeError, match="LayerTimes document"):
        load_times(path)
