"""verify --layers: error by layer, and each operator alone."""

from __future__ import annotations

import json

import pytest
from tiny import edgewright

from exporter.verify.layers import layer_errors


@pytest.fixture(scope="module")
def rows(tiny_build):
    folder, _ = tiny_build
    return layer_errors(folder / "build" / "tiny", samples=8)


def test_every_operator_alone_is_the_reference(rows):
    assert len(rows) >= 5
    assert all(row.tflite is not None and row.tflite.differing == 0 for row in rows)
    inside = [row.onnx for row in rows if row.onnx is not None]
    assert inside
    assert all(difference.differing == 0 for difference in inside)


def test_the_worst_layer_comes_first(rows):
    errors = [row.sqnr_db for row in rows if row.sqnr_db is not None]
    assert len(errors) >= 4
    assert errors == sorted(errors)


def test_the_command_prints_them(tiny_build):
    folder, _ = tiny_build
    done = edgewright("verify", "build/tiny", "--layers", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    kinds = {row["kind"] for row in json.loads(done.stdout)}
    assert {"Conv+Relu", "Gemm", "ReduceMean"} <= kinds
    certificate = json.loads((folder / "build" / "tiny" / "certificate.json").read_text())
    assert {row["differing"] for row in certificate["layers"]} == {0}
