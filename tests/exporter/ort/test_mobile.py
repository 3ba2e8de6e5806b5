"""exporter/ort/mobile.py: the .ort file, and the operators that a minimal build needs for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnxruntime.tools.reduced_build_config_parser import parse_config

from exporter.convert import Wishes, convert
from exporter.errors import ModelError
from exporter.layers import optimized_model
from exporter.ort import mobile, qdq


@pytest.fixture(scope="module")
def ort(made, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ort")
    ir.save(qdq.lower(ir.load(made.qdq), unsigned=False), folder / "signed.onnx")
    mobile.convert(folder / "signed.onnx", folder / "net.ort")
    return folder / "net.ort"


def test_every_operator_of_the_file_is_listed_with_its_types(ort):
    required, types = parse_config(str(mobile.config_path(ort)), True)
    assert types is not None
    listed = {
        (domain or "ai.onnx", name)
        for domain, versions in required.items()
        for names in versions.values()
        for name in names
    }
    model = optimized_model(ort)
    held = {(node.domain or "ai.onnx", node.op_type) for node in model.graph.node}
    assert ("com.microsoft", "QLinearConv") in listed
    assert held <= listed
    assert 'QLinearConv{"inputs": {"0": ["int8_t"]}}' in mobile.config_path(ort).read_text()


def test_the_list_names_its_model_and_no_temporary_folder(ort):
    first, *rest = mobile.config_path(ort).read_text().splitlines()
    assert first == "# What net.ort needs of ONNX Runtime"
    assert rest
    assert not any("#" in line or "/tmp" in line for line in rest)


def test_the_file_runs_and_gives_what_the_onnx_gives(ort, made):
    import networks

    session = onnxruntime.InferenceSession(ort, providers=["CPUExecutionProvider"])
    frames = networks.frames(4).numpy()
    found = session.run(None, {session.get_inputs()[0].name: frames})[0]
    np.testing.assert_array_equal(found.astype(int) + 128, networks.run_onnx(made.onnx, frames))


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="ONNX Runtime did not convert"):
        mobile.convert(tmp_path / "no.onnx", tmp_path / "no.ort")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no.onnx"]


def test_convert_writes_the_list_beside_the_file(made, tmp_path):
    target = tmp_path / "out.ort"
    document = convert(made.onnx, target, Wishes(samples=0))
    assert document.beside == (str(mobile.config_path(target)),)
    assert "QLinearConv" in mobile.config_path(target).read_text()
    assert convert(made.onnx, tmp_path / "out.tflite", Wishes(samples=0)).beside == ()


def test_a_build_lists_it_in_the_manifest(tiny_build):
    directory = tiny_build[0] / "build" / "tiny"
    companions = json.loads((directory / "manifest.json").read_text())["companions"]
    assert [entry["path"] for entry in companions] == ["tiny.int8.ort.required_operators.config"]
    path = directory / companions[0]["path"]
    assert path.stat().st_size == companions[0]["bytes"]
