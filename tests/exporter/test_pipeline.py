"""A whole build from a small recipe, as the command line does it: files, exit codes, resuming."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny import edgewright, write_recipe

from devices.session import open_device
from exporter.build import GOLDEN, MANIFEST, Manifest, load_json
from exporter.stages.judge import batch_of
from exporter.verify.parity import feeding_of, run_artifact


def test_everything_is_built_and_accounted_for(tiny_build):
    folder, shown = tiny_build
    directory = folder / "build" / "tiny"
    manifest = json.loads((directory / "manifest.json").read_text())
    for artifact in manifest["artifacts"]:
        assert (directory / artifact["path"]).stat().st_size == artifact["bytes"]
    certificate = json.loads((directory / "certificate.json").read_text())
    assert certificate["verdict"] == "clean"
    compared = {row["artifact"] for row in certificate["outputs"] if row["decides"]}
    assert {"tiny.int8.onnx", "tiny.int8.qoperator.onnx", "tiny.int8.s8s8.onnx"} <= compared
    assert manifest["labels"] == ["none", "small", "middle", "large"]
    assert manifest["preprocessing"] == {"mean": [0.4], "std": [0.2]}
    accuracy = json.loads((directory / "accuracy.json").read_text())
    assert [stage["stage"] for stage in accuracy["stages"]] == ["fp32", "pruned", "shared", "QAT"]
    assert min(row["accuracy"] for row in accuracy["rows"]) > 0.8
    assert accuracy["stages"][1]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert "int8 · TFLite" in shown
    assert "report.html" in shown
    assert not list(directory.rglob("*.part"))


def test_what_ships_names_no_folder_of_this_machine(tiny_build):
    folder = str(tiny_build[0]).encode()
    files = [path for path in (tiny_build[0] / "build" / "tiny").iterdir() if path.is_file()]
    told = [path.name for path in files if folder in path.read_bytes()]
    assert told == [".recipe-folder"]


def test_a_batch_gives_what_single_samples_give(tiny_build):
    directory = tiny_build[0] / "build" / "tiny"
    manifest = load_json(directory / MANIFEST, Manifest)
    with open_device("local") as session:
        for artifact in manifest.artifacts:
            path, golden = directory / artifact.path, directory / GOLDEN
            alone, _ = run_artifact(session, path, artifact, golden)
            together, _ = run_artifact(session, path, artifact, golden, batch=5)
            close = np.array_equal if artifact.precision == "int8" else np.allclose
            assert close(*alone, *together), artifact.name


def test_only_a_file_that_takes_any_batch_gets_one(tiny_build):
    manifest = load_json(tiny_build[0] / "build" / "tiny" / MANIFEST, Manifest)
    artifact = manifest.artifacts[0]
    assert feeding_of(artifact, 5).batch == 5
    (tensor,) = artifact.inputs
    fixed = tensor.model_copy(update={"shape": (1, *tensor.shape[1:])})
    assert feeding_of(artifact.model_copy(update={"inputs": (fixed,)}), 5).batch is None


@pytest.mark.parametrize(("side", "batch"), [(28, 32), (224, 1), (64, 21)])
def test_large_samples_go_in_fewer_at_once(side, batch):
    assert batch_of(np.zeros((40, side, side, 3), np.uint8)) == batch


def test_resume_redoes_only_what_is_missing(tiny_build):
    folder, _ = tiny_build
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


def test_resume_takes_in_other_labels(tiny_build, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_build[0], folder)
    (folder / "labels.txt").write_text("none\nsmall\nmedium\nlarge\n")
    done = edgewright("run", "recipe.toml", "--resume", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    again = [line for line in done.stdout.splitlines() if "taken from the run before" in line]
    assert [line.split()[0] for line in again] == ["train", "prune", "share", "quantize"]
    manifest = json.loads((folder / "build" / "tiny" / "manifest.json").read_text())
    assert manifest["labels"] == ["none", "small", "medium", "large"]


def test_package_restores_the_file(tiny_build, tmp_path):
    folder, _ = tiny_build
    package = folder / "build" / "tiny" / "tiny.int8.tflite.ewp"
    done = edgewright("unpack", str(package), "-o", str(tmp_path / "m.tflite"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.tflite").read_bytes() == package.with_suffix("").read_bytes()


def test_verify_says_no_to_an_altered_file(tiny_build, tmp_path):
    folder, _ = tiny_build
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


def test_check_exits_1_over_the_budget(tiny_build):
    folder, _ = tiny_build
    (folder / "tight.toml").write_text('[limits."*.int8.tflite"]\nfile_bytes = 10\n')
    done = edgewright("check", "build/tiny", "--budget", "tight.toml", cwd=folder)
    assert done.returncode == 1
    assert "file_bytes" in done.stdout


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    import time

    write_recipe(tmp_path)
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
