"""What shipped files hold, of files that a network was really lowered to."""

from __future__ import annotations

import json

import numpy as np
import pytest

from exporter.build import (
    MANIFEST,
    Artifact,
    Manifest,
    load_json,
    save_json,
    sha256_of,
)
from exporter.contents import CONTENTS, Contents
from exporter.gate.evidence import Evidence
from exporter.layers import entropy_bits, layer_rows, write_contents
from exporter.report.command import draw_build


@pytest.fixture
def shipped(made, tmp_path):
    """A build directory of the test network's int8 files."""
    artifacts = []
    for form, path in (("tflite", made.tflite), ("onnx", made.onnx)):
        name = f"network.int8.{form}"
        (tmp_path / name).write_bytes(path.read_bytes())
        artifacts.append(
            Artifact.model_validate(
                {
                    "name": name,
                    "format": form,
                    "precision": "int8",
                    "path": name,
                    "bytes": path.stat().st_size,
                    "sha256": sha256_of(path),
                    "inputs": (),
                    "outputs": (),
                }
            )
        )
    manifest = Manifest(
        name="network",
        created="2025-03-14T09:26:53Z",
        versions={},
        source="networks:network",
        artifacts=tuple(artifacts),
    )
    save_json(tmp_path / MANIFEST, manifest)
    return tmp_path


@pytest.mark.parametrize(
    ("values", "bits"),
    [([3, 3, 3], 0.0), ([0, 1], 1.0), ([0, 0, 0, 1], 0.8112781), (list(range(256)), 8.0)],
)
def test_entropy_is_shannon_s(values, bits):
    assert entropy_bits(np.array(values)) == pytest.approx(bits)


def test_layers_are_read_out_of_the_file(made):
    rows = layer_rows(made.tflite)
    assert len(rows) >= 3
    for row in rows:
        counts = dict(row.histogram)
        assert sum(counts.values()) == row.weights == row.bytes
        assert counts.get(0, 0) == row.zeros
        assert len(counts) == row.distinct_levels
        assert all(-127 <= value <= 127 for value in counts)
        assert 0 <= row.entropy_bits <= 8
        assert row.macs >= row.weights
        assert row.activation_bytes > 0


def test_a_dense_layer_uses_each_weight_once(made):
    (dense,) = [row for row in layer_rows(made.tflite) if row.operator == "FULLY_CONNECTED"]
    assert dense.macs == dense.weights


def test_contents_list_operators_and_layers_of_each_file(shipped):
    document = write_contents(shipped)
    tflite, onnx = document.files
    codes = {use.code: use for use in tflite.operators}
    assert codes["CONV_2D"].count >= 2
    assert all(use.version >= 1 and use.floats == 0 for use in tflite.operators)
    assert any(use.code == "QLinearConv" for use in onnx.operators)
    # ONNX Runtime has no integer kernel for a mean: it computes between its own Q and DQ.
    assert [use.code for use in onnx.operators if use.floats] == ["ReduceMean"]
    assert [layer.name for layer in tflite.layers] == [
        row.name for row in layer_rows(shipped / tflite.artifact)
    ]
    assert all(layer.histogram == () for layer in tflite.layers)


def test_contents_are_found_by_the_file_s_hash(shipped):
    write_contents(shipped)
    evidence = Evidence(shipped)
    tflite, onnx = evidence.manifest.artifacts
    assert evidence.file_contents(tflite).artifact == tflite.name
    assert evidence.layers(onnx) == evidence.layers(tflite) != ()


def test_float_operators_are_seen(made, shipped):
    """The canonical ONNX file, run without ONNX Runtime's fusion of its last layer, adds floats."""
    import onnx
    from onnx import helper

    path = shipped / "network.int8.onnx"
    model = onnx.load(path)
    output = model.graph.output[0]
    model.graph.node.extend(
        [
            helper.make_node("DequantizeLinear", [output.name, "s", "z"], ["real"]),
            helper.make_node("Sigmoid", ["real"], ["soft"]),
        ]
    )
    kind = output.type.tensor_type.elem_type
    model.graph.initializer.extend(
        [
            helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor("z", kind, [], [0]),
        ]
    )
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("soft", onnx.TensorProto.FLOAT, None)
    )
    onnx.save(model, path)
    _, listed = write_contents(shipped).files
    (sigmoid,) = [use for use in listed.operators if use.code == "Sigmoid"]
    assert (sigmoid.count, sigmoid.floats) == (1, 1)


def test_the_report_lists_contents_and_draws_the_layers(shipped):
    page = draw_build(shipped).read_text()
    assert (shipped / CONTENTS).exists()
    assert "<h3>Levels and bits</h3>" in page
    assert "<h3>Weights</h3>" in page
    for row in layer_rows(shipped / "network.int8.tflite"):
        assert row.name in page


def test_the_report_lists_contents_again_that_are_another_build_s(shipped):
    """The gate's remedy for files that are not listed is `edgewright report`."""
    document = write_contents(shipped)
    stale = document.files[0].model_copy(update={"sha256": "0" * 64})
    save_json(shipped / CONTENTS, document.model_copy(update={"files": (stale,)}))
    draw_build(shipped)
    assert load_json(shipped / CONTENTS, Contents) == document


def test_the_report_holds_the_recipe_s_budget(shipped, tmp_path):
    budget = tmp_path / "budget.toml"
    budget.write_text('[limits."*.tflite"]\nfile_bytes = 1\n')
    (shipped / ".recipe-folder").write_text(str(tmp_path))
    (shipped / "recipe.json").write_text(
        json.dumps({"name": "network", "budget": budget.name, "train": {"epochs": 3, "lr": None}})
    )
    page = draw_build(shipped).read_text()
    assert "network does not pass" in page
    assert "<dt><code>train.epochs</code></dt><dd><code>3</code></dd>" in page
    budget.unlink()
    assert "Not checked against a budget" in draw_build(shipped).read_text()
