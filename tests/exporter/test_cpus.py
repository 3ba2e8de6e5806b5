"""The same hash from both runtimes on CPUs that this machine is not, emulated by qemu."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import networks
import numpy as np
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from exporter import build
from exporter.build import CERTIFICATE, GOLDEN, MANIFEST, Certificate, CpuComparison, load_json
from exporter.cli import app
from exporter.errors import EdgewrightError, EmulationError
from exporter.terminal import print_certificate
from exporter.verify import cpus
from exporter.verify.cpus import CPUS, check_all_ran, compare_on_cpus, cpus_named

FRAMES = networks.frames(8, seed=11)
HELD_OUT = 1000
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"

# The example's data and network, half as wide and hardly trained: emulation takes its time.
DIGITS_RECIPE = """
name = "digits"
[model]
factory = "digits:resnet8"
arguments = { width = 8 }
[input]
shape = "1x1x28x28"
mean = [0.1307]
std = [0.3081]
[data]
train = "digits:train"
test = "digits:test"
[train]
epochs = 1
lr = 0.1
[verify]
samples = 1000
[bench]
seconds = 0.02
"""
# A trained network's weights at full range: what a plain int8 file has.
PLAIN_MODULE = """
import torch
from torch.utils.data import TensorDataset

import networks

def make():
    return networks.network()

def frames():
    return TensorDataset(networks.frames(64, seed=3))
"""
PLAIN_RECIPE = """
name = "plain"
[model]
factory = "plain_cpus_module:make"
weights = "plain.safetensors"
[input]
shape = "1x3x32x24"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[data]
calibration = "plain_cpus_module:frames"
[quantize]
exact = false
[bench]
seconds = 0.02
"""


def edgewright(*arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, "-m", "exporter.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **options,
    )


@pytest.fixture(params=CPUS, ids=lambda cpu: cpu.name)
def cpu(request):
    """Each CPU; skips, saying why, where it cannot be emulated."""
    return available(request, request.param.name)


def available(request, name):
    (cpu,) = cpus_named([name])
    root = None if cpu.board is None else request.getfixturevalue("arm64_root")
    try:
        with cpus.emulate(cpu, root):
            return cpu
    except EmulationError as error:
        pytest.skip(f"NOT TESTED: {' '.join(str(error).split())}")


def root_for(request, cpu):
    return None if cpu.board is None else request.getfixturevalue("arm64_root")


@pytest.fixture(scope="module")
def directory(made, tmp_path_factory):
    """The test network as a build: its files, a manifest, golden inputs and outputs."""
    folder = tmp_path_factory.mktemp("build")
    artifacts = []
    for path, form, output in ((made.tflite, "tflite", "int8"), (made.onnx, "onnx", "uint8")):
        shutil.copy(path, folder)
        artifacts.append(
            build.Artifact(
                name=path.name,
                format=form,
                precision="int8",
                path=path.name,
                bytes=path.stat().st_size,
                sha256=build.sha256_of(path),
                inputs=(info("x", (None, 32, 24, 3), "uint8", "NHWC"),),
                outputs=(info("y", (None, 7), output, ""),),
            )
        )
    manifest = build.Manifest(
        name="n", created="", versions={}, source="networks", artifacts=tuple(artifacts)
    )
    build.save_json(folder / MANIFEST, manifest)
    outputs = networks.run_tflite(made.tflite, FRAMES.numpy())
    assert len(np.unique(outputs)) > 20  # a dead network would agree with anything
    np.savez(folder / GOLDEN, **{"input.0": FRAMES.numpy(), "output.0": outputs})
    return folder


def info(name, shape, dtype, layout):
    return build.TensorInfo(name=name, shape=shape, dtype=dtype, layout=layout)


@pytest.fixture
def altered(directory, tmp_path):
    """A copy of the build whose first golden output is three steps off."""
    copy = tmp_path / "altered"
    shutil.copytree(directory, copy)
    arrays = dict(np.load(copy / GOLDEN))
    first = arrays["output.0"][0, :1]
    first += np.where(first > 0, -3, 3).astype(np.int8)
    np.savez(copy / GOLDEN, **arrays)
    return copy


@pytest.mark.slow
def test_both_files_give_this_machines_outputs(request, directory, cpu, monkeypatch):
    if cpu.board is None:  # as it stands on some machines: an emulated one may have fewer
        monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    rows = compare_on_cpus(directory, [cpu], root=root_for(request, cpu))
    assert [row.artifact for row in rows] == ["n.onnx", "n.tflite"]
    assert all(row.not_run == "" and row.values == 7 * len(FRAMES) for row in rows), rows
    assert [row.differing for row in rows] == [0, 0]
    assert len({row.sha256 for row in rows}) == 1


@pytest.mark.slow
def test_an_arm_cpu_is_one(request, arm64_root):
    with cpus.emulate(available(request, "cortex-a72"), arm64_root) as session:
        found = session.info()
    assert found.machine == "aarch64"
    versions = {row.name: row.version for row in found.interpreters}
    assert versions["litert"] == metadata.version("ai-edge-litert")
    assert versions["onnxruntime"] == metadata.version("onnxruntime")


@pytest.fixture
def not_emulated(monkeypatch):
    """Haswell stands for this machine's own CPU: what comes of its answers is the same."""
    monkeypatch.setattr(cpus, "this_python_on", lambda cpu: [sys.executable])
    return cpus_named(["Haswell"])


def test_a_single_other_value_is_counted(not_emulated, altered):
    rows = compare_on_cpus(altered, not_emulated, samples=3)
    assert [(row.samples, row.values, row.differing, row.max_lsb) for row in rows] == [
        (3, 21, 1, 3),
        (3, 21, 1, 3),
    ]


@pytest.fixture
def verify(monkeypatch):
    """`edgewright verify`, with a clean certificate of everything but the emulated CPUs."""
    monkeypatch.setattr(cpus, "certify", lambda directory, reporter: certificate_with())

    def run(directory, *arguments):
        return CliRunner().invoke(app, ["verify", str(directory), *arguments])

    return run


def test_a_differing_value_exits_1(not_emulated, altered, verify):
    done = verify(altered, "--cpu", "Haswell", "--samples", "1")
    assert done.exit_code == 1
    assert "1 of 7" in done.stdout
    assert load_json(altered / CERTIFICATE, Certificate).verdict == "differs"


def test_equal_values_exit_0(not_emulated, directory, verify):
    done = verify(directory, "--cpu", "Haswell", "--json")
    assert done.exit_code == 0, done.output
    certificate = Certificate.model_validate_json(done.stdout)
    assert [row.differing for row in certificate.cpus] == [0, 0]


def test_a_cpu_that_cannot_be_emulated_is_no_success(directory, verify, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = verify(directory, "--cpus")
    assert isinstance(done.exception, EmulationError)
    assert done.exception.exit_code == 3
    assert "NOT VERIFIED on Haswell, Nehalem, cortex-a53" in str(done.exception)
    certificate = load_json(directory / CERTIFICATE, Certificate)
    assert certificate.verdict == "clean"
    assert {row.cpu for row in certificate.cpus if "is missing" in row.not_run} == {
        cpu.name for cpu in CPUS
    }


@pytest.mark.parametrize("option", [("--samples", "3"), ("--root", ".")])
def test_options_of_emulation_need_a_cpu(directory, verify, option):
    done = verify(directory, *option)
    assert done.exit_code == 2
    assert "go with --cpus" in done.output


def build_digits(folder):
    """The example's network, with all held-out digits as golden inputs; gives its directory."""
    (folder / "recipe.toml").write_text(DIGITS_RECIPE)
    done = edgewright("run", folder / "recipe.toml", "--out", folder / "build", cwd=DIGITS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build"


@pytest.mark.slow
def test_held_out_digits_give_the_same_integers_everywhere(request, arm64_root, tmp_path):
    names = [available(request, name).name for name in ("Haswell", "cortex-a72")]
    digits = build_digits(tmp_path)
    asked = [part for name in names for part in ("--cpu", name)]
    done = edgewright("verify", digits, *asked, "--root", arm64_root, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    certificate = Certificate.model_validate_json(done.stdout)
    assert certificate.verdict == "clean"
    assert certificate.samples == HELD_OUT
    native = [row for row in certificate.outputs if row.decides]
    assert [row.differing for row in native] == [0, 0, 0]
    assert len(certificate.cpus) == len(names) * len(native)
    assert {(row.samples, row.values, row.differing) for row in certificate.cpus} == {
        (HELD_OUT, 10 * HELD_OUT, 0)
    }
    assert {row.sha256 for row in certificate.cpus} == {row.sha256 for row in native}
    assert load_json(digits / CERTIFICATE, Certificate) == certificate


def build_plain(folder):
    """A build without the rules that make the runtimes agree; gives its directory."""
    (folder / "plain_cpus_module.py").write_text(PLAIN_MODULE)
    (folder / "recipe.toml").write_text(PLAIN_RECIPE)
    save_file(networks.network().state_dict(), folder / "plain.safetensors")
    out = folder / "build"
    done = edgewright("run", folder / "recipe.toml", "--out", out, cwd=Path(__file__).parent)
    assert done.returncode == 1, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_a_plain_file_is_told_apart(request, tmp_path):
    plain = build_plain(tmp_path)
    certificate = load_json(plain / CERTIFICATE, Certificate)
    assert certificate.verdict == "differs"
    failed = {check.name for check in certificate.checks if not check.passed}
    assert "pair rule (no 16-bit saturation)" in failed
    onnx, tflite, *_ = certificate.outputs
    arrays = np.load(plain / GOLDEN)
    found = networks.run_tflite(plain / "plain.int8.tflite", arrays["input.0"])
    distance = np.abs(found.astype(int) - arrays["output.0"])
    assert (tflite.differing, tflite.max_lsb) == (np.count_nonzero(distance), distance.max())
    assert (onnx.differing, onnx.values) == (0, distance.size)

    cpu = available(request, "Haswell")  # whose 16-bit sums saturate
    done = edgewright("verify", plain, "--cpu", cpu.name, "--samples", 16, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row.runtime: row for row in load_json(plain / CERTIFICATE, Certificate).cpus}
    # The kept outputs are those of ONNX Runtime on this CPU, whose sums may saturate themselves.
    told = max(rows.values(), key=lambda row: row.max_lsb)
    assert told.max_lsb > 1
    assert f"{told.differing} of {16 * 7}" in done.stdout
    assert rows["ONNX Runtime"].sha256 != rows[tflite.runtime].sha256


def test_another_root_than_an_arm64_one_is_named(directory, tmp_path):
    rows = compare_on_cpus(directory, cpus_named(["cortex-a72"]), root=tmp_path)
    assert [row.sha256 for row in rows] == [None, None]
    assert all("is no arm64 root" in row.not_run for row in rows)
    with pytest.raises(EmulationError, match="NOT VERIFIED on cortex-a72"):
        check_all_ran(rows)


def test_another_machine_is_named(monkeypatch, directory):
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    rows = compare_on_cpus(directory, cpus_named(["Haswell"]))
    assert all("Linux on arm64" in row.not_run for row in rows)


def test_a_file_that_fails_there_is_named(not_emulated, directory, tmp_path):
    copy = tmp_path / "build"
    shutil.copytree(directory, copy)
    (copy / "n.onnx").unlink()
    missing, there = compare_on_cpus(copy, not_emulated)
    assert "n.onnx is missing" in missing.not_run
    assert (there.not_run, there.differing) == ("", 0)


@pytest.mark.parametrize("name", ["max", "haswell", ""])
def test_an_unknown_cpu_is_refused(name):
    with pytest.raises(EdgewrightError, match=r"(?s)there is no CPU.*one of Haswell, Nehalem"):
        cpus_named([name])


def test_no_name_means_every_cpu():
    assert cpus_named([]) == CPUS


def certificate_with(*rows):
    return Certificate(verdict="clean", samples=8, checks=(), outputs=(), cpus=rows)


def test_the_table_shows_figures_and_reasons(capsys):
    row = CpuComparison(cpu="Haswell", features="f", artifact="a", runtime="r", samples=8)
    done = {"sha256": "ab" * 32, "values": 80, "differing": 5, "max_lsb": 2}
    skipped = {"cpu": "cortex-a72", "not_run": "[qemu] is missing"}
    print_certificate(certificate_with(row.model_copy(update=done), row.model_copy(update=skipped)))
    shown = capsys.readouterr().out
    assert "5 of 80" in shown
    assert "abababababab" in shown
    assert "NOT RUN on cortex-a72: [qemu] is missing" in shown
    assert "verdict: not verified on cortex-a72" in shown


def test_a_certificate_of_before_can_be_read(tmp_path):
    document = certificate_with().model_dump(mode="json")
    del document["cpus"]
    (tmp_path / CERTIFICATE).write_text(json.dumps(document))
    assert load_json(tmp_path / CERTIFICATE, Certificate).cpus == ()
