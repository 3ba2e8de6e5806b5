"""Builds with int16 activations: by `edgewright export`, and by a recipe that trains."""

from __future__ import annotations

import json

import pytest
from tiny import MODULE, edgewright

from exporter.build import Certificate, Manifest, load_json
from exporter.errors import RecipeError
from exporter.graph.read import read_file
from exporter.recipe import load_recipe
from exporter.tflite.reader import read_tflite
from exporter.verify import wide
from exporter.verify.certificate import certify

ZOO_MODULE = """
import sys
from pathlib import Path
import torch
from examples.models import ZOO

def make():
    return ZOO["ds_cnn"].settled(small=True)

def data():
    pictures = ZOO["ds_cnn"].example(24, small=True, seed=5)
    frames = ((pictures * 0.25 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return list(frames.permute(0, 2, 3, 1).contiguous())
"""
RECIPE = """
name = "tiny"
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
[quantize]
activations = "int16"
epochs = 1
[verify]
samples = 16
[bench]
seconds = 0.02
"""


def export(folder, module, options):
    """What the command line makes of a module's network and data, in `out`."""
    words = ["--out", "out", "--calibration", f"{module}:data", *options.split()]
    done = edgewright("export", f"{module}:make", *words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A narrow network of the examples, by the command line."""
    from examples.models import ZOO

    folder = tmp_path_factory.mktemp("exported")
    (folder / "zoo_module.py").write_text(ZOO_MODULE)
    shape = "x".join(map(str, ZOO["ds_cnn"].small_shape))
    options = f"--input {shape} --mean 0.5 --std 0.25 --name net --activations int16"
    export(folder, "zoo_module", options)
    return folder / "out"


def test_export_writes_int16_files(exported):
    manifest = load_json(exported / "manifest.json", Manifest)
    assert manifest.activations == "int16"
    outputs = {a.name: a.outputs[0] for a in manifest.artifacts if a.precision == "int8"}
    assert set(outputs) == {"net.int8.tflite", "net.int8.onnx", "net.int8.ort"}
    assert {(o.dtype, o.zero_point) for o in outputs.values()} == {("int16", 0)}
    assert read_file(exported / "net.int8.onnx").is_wide
    types = {tensor.dtype.name for tensor in read_tflite(exported / "net.int8.tflite").tensors}
    assert {"int8", "int16", "int64"} <= types


def test_the_certificate_says_what_runs_and_how_far_the_files_are_apart(exported):
    certificate = load_json(exported / "certificate.json", Certificate)
    assert [row.runtime for row in certificate.outputs] == [
        "ONNX Runtime, float operators",
        "LiteRT, builtin int16 kernels",
        "ONNX Runtime (.ort), float operators",
    ]
    assert all(row.decides for row in certificate.outputs)
    assert certificate.outputs[1].differing > 0  # else nothing here is put to the test
    assert certificate.verdict == "differs"
    assert certificate.within_lsb == certificate.outputs[1].max_lsb > 0
    assert certificate.summary == f"differs within {certificate.within_lsb} LSB of int16"
    alone = next(c for c in certificate.checks if c.name == "int16 operators within their bounds")
    assert "Conv 1 of 1" in alone.detail
    assert all(check.passed for check in certificate.checks)


def test_the_table_and_the_page_say_what_the_values_are(exported):
    from exporter.gate.evidence import Evidence
    from exporter.report.summary import build_rows
    from exporter.report.views import figures

    evidence = Evidence(exported)
    rows = build_rows(evidence)
    assert "smaller than fp32" in figures(evidence, rows)[0].caption
    assert [row.label for row in rows] == [
        "fp32 · ONNX Runtime",
        "int16x8 · TFLite",
        "int16x8 · ONNX Runtime",
    ]
    page = (exported / "report.html").read_text(encoding="utf-8")
    assert "int16x8 · TFLite" in page


def test_verify_shows_the_difference_and_accepts_it(exported):
    done = edgewright("verify", "out", cwd=exported.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: differs within" in done.stdout
    assert "LSB of int16" in done.stdout


def test_a_budget_that_asks_for_equal_outputs_is_not_met(exported):
    (exported.parent / "budget.toml").write_text(
        '[limits."*.int8.tflite"]\ncertificate = "clean"\n'
    )
    done = edgewright("check", "out", "--budget", "budget.toml", cwd=exported.parent)
    assert done.returncode == 1
    assert "differs" in done.stdout


def test_the_smoke_test_allows_what_the_certificate_does(exported):
    done = edgewright("smoke", "out", cwd=exported.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    certificate = load_json(exported / "certificate.json", Certificate)
    rows = json.loads((exported / "smoke.json").read_text())["rows"]
    assert {row["limit_lsb"] for row in rows} == {certificate.within_lsb}


def test_layers_are_compared_with_the_kernels_that_run(exported):
    done = edgewright("verify", "out", "--layers", cwd=exported.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    layers = load_json(exported / "certificate.json", Certificate).layers
    assert {row.runtime for row in layers} == {"LiteRT, builtin int16 kernels"}
    assert max(row.max_lsb for row in layers) == 1


def test_an_operator_over_its_bound_takes_the_acceptance_away(exported, monkeypatch):
    monkeypatch.setattr(wide, "DEFAULT_BOUND", 0)
    certificate = certify(exported)
    assert certificate.within_lsb is None
    assert certificate.summary == "differs"
    failed = [check for check in certificate.checks if not check.passed]
    assert [check.name for check in failed] == ["int16 operators within their bounds"]
    assert "differs by 1 LSB, over its bound of 0" in failed[0].detail


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One layer of three in int16, by the command line; its layers verified."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "tiny_pipeline_module.py").write_text(MODULE)
    options = "--input 1x1x16x16 --mean 0.4 --std 0.2 --name net --samples 32 --int16-layers 3"
    done = export(folder, "tiny_pipeline_module", options)
    assert "int8 + int16 · TFLite" in done.stdout
    done = edgewright("verify", "out", "--layers", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


def test_a_mixed_build_has_int8_outputs_and_says_which_operators_are_int16(mixed):
    manifest = load_json(mixed / "manifest.json", Manifest)
    assert manifest.activations == "int8"
    quantized = [a for a in manifest.artifacts if a.precision == "int8"]
    assert {a.outputs[0].dtype for a in quantized} == {"int8", "uint8"}
    certificate = load_json(mixed / "certificate.json", Certificate)
    assert [name.partition(" ")[0] for name in certificate.int16_operators] == [
        "Conv",
        "ReduceMean",
    ]
    assert certificate.within_lsb is not None
    assert all(check.passed for check in certificate.checks)
    runtimes = {row.runtime for row in certificate.outputs if row.decides}
    assert "LiteRT, XNNPACK; int16 layers: builtin kernels" in runtimes
    assert "ONNX Runtime; int16 layers: float operators" in runtimes
    types = [tensor.dtype.name for tensor in read_tflite(mixed / "net.int8.tflite").tensors]
    assert 0 < types.count("int16") < types.count("int8")


def test_each_layer_of_a_mixed_build_names_the_kernels_that_ran(mixed):
    graph = read_file(mixed / "net.qdq.onnx")
    wide = sum(graph.in_int16(operator) for operator in graph.operators)
    layers = load_json(mixed / "certificate.json", Certificate).layers
    runtimes = [row.runtime for row in layers]
    assert set(runtimes) == {"LiteRT, XNNPACK", "LiteRT, builtin int16 kernels"}
    assert runtimes.count("LiteRT, builtin int16 kernels") == wide == 4  # these, and the ends
    assert max(row.max_lsb for row in layers) <= 1


def test_the_page_of_a_mixed_build_has_its_figures(mixed):
    from exporter.gate.evidence import Evidence
    from exporter.report.summary import build_rows
    from exporter.report.views import figures

    evidence = Evidence(mixed)
    rows = build_rows(evidence)
    labels = [row.label for row in rows[1:]]
    assert labels == ["int8 + int16 · TFLite", "int8 + int16 · ONNX Runtime"]
    assert "smaller than fp32" in figures(evidence, rows)[0].caption
    assert "int8 + int16 · TFLite" in (mixed / "report.html").read_text(encoding="utf-8")


def test_a_recipe_trains_with_int16_values(tmp_path):
    (tmp_path / "tiny_pipeline_module.py").write_text(MODULE)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    done = edgewright("run", "recipe.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "build" / "tiny"
    certificate = load_json(directory / "certificate.json", Certificate)
    assert certificate.activations == "int16"
    assert all(check.passed for check in certificate.checks)
    accuracy = json.loads((directory / "accuracy.json").read_text())
    assert min(row["accuracy"] for row in accuracy["rows"]) > 0.8


def test_other_onnx_forms_are_refused(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + '[output]\nonnx_forms = ["qoperator"]\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "onnx_forms has no form for int16 activations" in str(caught.value)


def test_another_type_is_refused(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("int16", "int12"))
    with pytest.raises(RecipeError, match="activations"):
        load_recipe(path)
