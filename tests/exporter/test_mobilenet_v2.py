"""The shipped files of the real MobileNetV2 name what is in real photographs, as fp32 does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "mobilenet_v2"


@pytest.mark.slow
def test_both_files_name_what_fp32_names(tmp_path, monkeypatch):
    pytest.importorskip("skimage", reason="scikit-image carries the photographs")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import mobilenet_v2
    import networks

    from exporter.inputs import InputSpec

    out = tmp_path / "build"
    arguments = ["export", "mobilenet_v2:mobilenet_v2", "--input", "1x3x224x224"]
    arguments += ["--calibration", "mobilenet_v2:calibration", "--out", str(out), "--name", "net"]
    # A handful of photographs is too few to measure the biases' error on.
    arguments += ["--no-bias-correction"]
    arguments += ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    done = subprocess.run(
        [sys.executable, "-m", "exporter.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=EXAMPLE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["verdict"] == "clean", certificate

    frames = mobilenet_v2.frames()
    spec = InputSpec((1, 3, 224, 224), "uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        real = mobilenet_v2.mobilenet_v2()(spec.to_model(torch.from_numpy(frames))).argmax(1)
    from_tflite = networks.run_tflite(out / "net.int8.tflite", frames)
    from_onnx = networks.run_onnx(out / "net.int8.onnx", frames)
    assert np.array_equal(from_tflite.astype(int) + 128, from_onnx)
    assert from_tflite.argmax(1).tolist() == real.tolist()
