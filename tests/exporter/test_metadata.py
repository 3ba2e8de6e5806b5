"""Labels, normalisation and scales inside the shipped files."""

from __future__ import annotations

import json

import onnxruntime
import pytest

from exporter.inspection import inspect_model
from exporter.metadata import TFLITE_ENTRY, Metadata

LABELS = ["none", "small", "middle", "large"]


@pytest.mark.parametrize("suffix", ["int8.onnx", "fp32.onnx", "int8.ort", "int8.s8s8.onnx"])
def test_onnx_runtime_tells_them(tiny_build, suffix):
    path = tiny_build[0] / "build" / "tiny" / f"tiny.{suffix}"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["labels"]) == LABELS
    assert json.loads(found["input"]) == {"dtype": "uint8", "mean": [0.4], "std": [0.2]}
    (output,) = json.loads(found["outputs"])
    assert output["name"] == "output"
    assert ("scale" in output) == ("int8" in suffix)
    assert {"labels", "input", "outputs"} <= set(inspect_model(path).metadata)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_tflite_file_has_one_entry_of_ours(tiny_build, precision):
    directory = tiny_build[0] / "build" / "tiny"
    text = inspect_model(directory / f"tiny.{precision}.tflite").metadata[TFLITE_ENTRY]
    document = Metadata.model_validate_json(text)
    assert list(document.labels) == LABELS
    assert (document.input.mean, document.input.std) == ((0.4,), (0.2,))
    manifest = json.loads((directory / "manifest.json").read_text())
    artifact = next(a for a in manifest["artifacts"] if a["name"] == f"tiny.{precision}.tflite")
    shipped = artifact["outputs"][0]
    assert (document.outputs[0].scale, document.outputs[0].zero_point) == (
        shipped["scale"],
        shipped["zero_point"],
    )
