"""A whole build from a small recipe, as the command line does it: files, exit codes, resuming."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULE = '''
import torch
from torch import nn
from torch.utils.data import TensorDataset

def make():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))

def data(seed=0):
    """Noise, brighter in the quarter that is the label."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 120, (256, 16, 16, 1), generator=generator)
    labels = torch.randint(0, 4, (256,), generator=generator)
    for frame, label in zip(frames, labels.tolist()):
        frame[: 4 + 4 * label, : 4 + 4 * label] += 120
    return TensorDataset(frames.to(torch.uint8), labels)

def test():
    return data(1)
'''
RECIPE = """
name = "tiny"
budget = "budget.toml"
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
[prune]
sparsity = 0.5
epochs = 2
lr = 0.05
[share]
epochs = 1
lr = 0.02
[quantize]
epochs = 1
[verify]
samples = 64
[bench]
seconds = 0.05
"""
BUDGET = """
[limits."*.int8.*"]
file_bytes = "1 MB"
accuracy_drop = "5 pt"
certificate = "clean"
"""


def edgewright(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "exporter.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "tiny_pipeline_module.py").write_text(MODULE)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "budget.toml").write_text(BUDGET)
    done = edgewright("run", "recipe.toml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_everything_is_built_and_accounted_for(built):
    folder, shown = built
    directory = folder / "build" / "tiny"
    manifest = json.loads((directory / "manifest.json").read_text())
    for artifact in manifest["artifacts"]:
        assert (directory / artifact["path"]).stat().st_size == artifact["bytes"]
    certificate = json.loads((directory / "certificate.json").read_text())
    assert certificate["verdict"] == "clean"
    accuracy = json.loads((directory / "accuracy.json").read_text())
    assert [stage["stage"] for stage in accuracy["stages"]] == ["fp32", "pruned", "shared", "QAT"]
    assert min(row["accuracy"] for row in accuracy["rows"]) > 0.8
    assert accuracy["stages"][1]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert "int8 · TFLite" in shown
    assert "report.html" in shown
    assert not list(directory.rglob("*.part"))


def test_resume_redoes_only_what_is_missing(built):
    folder, _ = built
    directory = folder / "build" / "tiny"
    tflite = (directory / "tiny.int8.tflite").read_bytes()
    (directory / "tiny.int8.tflite").unlink()
    done = edgewright("run", "recipe.toml", "--resume", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    again = [line for line in done.stdout.splitlines() if "taken from the run before" in line]
    names = [line.split("  ")[0] for line in again]
    assert {"train", "prune", "share", "quantize"} <= set(names)
    assert "int8 files" not in names
    assert (directory / "tiny.int8.tflite").read_bytes() == tflite


def test_package_restores_the_file(built, tmp_path):
    folder, _ = built
    package = folder / "build" / "tiny" / "tiny.int8.tflite.ewp"
    done = edgewright("unpack", str(package), "-o", str(tmp_path / "m.tflite"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.tflite").read_bytes() == package.with_suffix("").read_bytes()


def test_verify_says_no_to_an_altered_file(built, tmp_path):
    import shutil

    folder, _ = built
    copy = tmp_path / "tiny"
    shutil.copytree(folder / "build" / "tiny", copy)
    assert edgewright("verify", str(copy), cwd=folder).returncode == 0
    path = copy / "tiny.int8.onnx"
    raw = bytearray(path.read_bytes())
    from exporter.graph.read import read_file

    weight = next(t for t in read_file(path).constants() if t.dtype.name == "int8")
    place = raw.find(weight.data.tobytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    done = edgewright("verify", str(copy), cwd=folder)
    assert done.returncode == 1
    assert "has other integers" in done.stdout


def test_check_exits_1_over_the_budget(built):
    folder, _ = built
    (folder / "tight.toml").write_text('[limits."*.int8.tflite"]\nfile_bytes = 10\n')
    done = edgewright("check", "build/tiny", "--budget", "tight.toml", cwd=folder)
    assert done.returncode == 1
    assert "file_bytes" in done.stdout


def test_a_killed_run_goes_on_where_it_was(built, tmp_path):
    import shutil
    import time

    folder, _ = built
    for name in ("tiny_pipeline_module.py", "recipe.toml", "budget.toml"):
        shutil.copy(folder / name, tmp_path / name)
    command = [sys.executable, "-m", "exporter.cli", "run", "recipe.toml"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    directory = tmp_path / "build" / "tiny"
    deadline = time.monotonic() + 120
    while not (directory / "stages" / "pruned.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (directory / "tiny.int8.tflite").exists()
    before = (directory / "stages" / "fp32.safetensors").read_bytes()
    done = edgewright("run", "recipe.toml", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("train ") and "run before" in line for line in lines)
    assert (directory / "stages" / "fp32.safetensors").read_bytes() == before
    assert json.loads((directory / "certificate.json").read_text())["verdict"] == "clean"
