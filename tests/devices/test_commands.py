"""bench, smoke, devices list and doctor as a user has them, on a build of tiny models."""

from __future__ import annotations

import hashlib
import json
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from exporter.build import (
    BENCH,
    CERTIFICATE,
    GOLDEN,
    MANIFEST,
    SMOKE,
    Artifact,
    Bench,
    Certificate,
    Manifest,
    OutputComparison,
    PackageInfo,
    Smoke,
    TensorInfo,
    load_json,
    save_json,
)
from exporter.pack import pack
from runtimes.values import sha256_of

NAMES = ("tiny.int8.tflite", "tiny.int8.onnx")
LAYOUTS = {"tflite": "NHWC", "onnx": "NCHW"}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command; no devices.toml but the test's own is in sight."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def call(*words, code=0):
        found = subprocess.run(
            [sys.executable, "-m", "exporter.cli", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert found.returncode == code, found.stdout + found.stderr
        return found

    return call


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def artifact_of(build, name, models):
    path = build / name
    form = path.suffix[1:]
    package = build / f"{name}.ewp"
    pack(path, package)
    layout = LAYOUTS[form]
    tensors = [
        (TensorInfo(name=key, shape=(None, *shape), dtype="int8", layout=layout),)
        for key, shape in (("x", (4, 6, 3)), ("y", (4, 6, 5)))
    ]
    return Artifact(
        name=name,
        format=form,
        precision="int8",
        path=name,
        bytes=path.stat().st_size,
        sha256=hash_of(path),
        inputs=tensors[0],
        outputs=tensors[1],
        package=PackageInfo(
            path=package.name, bytes=package.stat().st_size, sha256=hash_of(package)
        ),
    )


@pytest.fixture
def build(models, tmp_path):
    """A build directory of two files, their packages, golden arrays and a clean certificate."""
    directory = tmp_path / "build"
    directory.mkdir()
    for name in NAMES:
        (directory / name).write_bytes((models.golden.parent / name).read_bytes())
    (directory / GOLDEN).write_bytes(models.golden.read_bytes())
    artifacts = tuple(artifact_of(directory, name, models) for name in NAMES)
    manifest = Manifest(name="tiny", created="x", versions={}, source="x", artifacts=artifacts)
    save_json(directory / MANIFEST, manifest)
    save_certificate(directory, sha256_of([models.outputs]), max_lsb=0)
    return directory


def save_certificate(directory, sha256, max_lsb):
    counts = {"values": 840, "differing": 3 * bool(max_lsb), "max_lsb": max_lsb}
    rows = [
        OutputComparison(artifact=NAMES[0], runtime="LiteRT, XNNPACK", sha256=sha256, **counts),
        OutputComparison(artifact=NAMES[1], runtime="ONNX Runtime", sha256=sha256, **counts),
    ]
    document = Certificate(verdict="clean", samples=7, checks=(), outputs=tuple(rows))
    save_json(directory / CERTIFICATE, document)


def lines_of(found):
    return [line for line in found.stdout.splitlines() if line[:1] in "✓✗"]


def test_every_file_and_package_is_smoked_bit_for_bit(run, build, models):
    found = run("smoke", build)
    lines = lines_of(found)
    files = [name for one in NAMES for name in (one, f"{one}.ewp")]
    assert [line.split()[2].rstrip(":") for line in lines] == files
    assert all("✓" in line and "bit for bit, 7 samples" in line for line in lines)
    document = load_json(build / SMOKE, Smoke)
    assert document.passed
    assert {row.sha256 for row in document.rows} == {sha256_of([models.outputs])}
    assert [row.file_sha256 for row in document.rows] == [
        hash_of(build / name) for name in NAMES for _ in range(2)
    ]


@pytest.mark.parametrize(("allowed", "code"), [(0, 1), (3, 1), (4, 0)])
def test_differences_pass_only_within_the_certificates_limits(run, build, models, allowed, code):
    (build / GOLDEN).write_bytes(models.wrong_golden.read_bytes())
    save_certificate(build, "x", allowed)
    found = run("smoke", build, code=code)
    said = f"3 of 840 values differ by up to 4 LSB (allowed: {allowed})"
    assert all(said in line for line in lines_of(found))
    assert load_json(build / SMOKE, Smoke).passed == (code == 0)


def test_a_file_that_is_not_the_manifests_does_not_pass(run, build, models):
    (build / NAMES[0]).write_bytes(models.float_tflite.read_bytes())
    np.savez(build / GOLDEN, **{"input.0": models.images, "output.0": models.outputs})
    found = run("smoke", build, code=1)
    marks = [line[0] for line in lines_of(found)]
    assert marks == ["✗", "✓", "✓", "✓"]


def test_a_damaged_package_is_one_line_that_did_not_pass(run, build):
    package = build / f"{NAMES[1]}.ewp"
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 0xFF
    package.write_bytes(data)
    found = run("smoke", build, code=1)
    assert [line[0] for line in lines_of(found)] == ["✓", "✓", "✓", "✗"]
    assert not load_json(build / SMOKE, Smoke).rows[-1].passed


@pytest.fixture
def without_onnxruntime(tmp_path):
    """A device on this machine that has no ONNX Runtime."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "onnxruntime.py").write_text("raise ImportError('it is not here')")
    launcher = tmp_path / "python"
    launcher.write_text(
        f'#!/bin/sh\nPYTHONPATH={tmp_path / "blocked"} exec {sys.executable} "$@"\n'
    )
    launcher.chmod(0o755)
    write_devices(tmp_path, bare={"address": "local", "python": str(launcher)})
    return "bare"


def test_what_a_device_has_no_interpreter_for_is_not_run(run, build, without_onnxruntime):
    found = run("smoke", build, "--device", without_onnxruntime, code=3)
    assert [line[0] for line in found.stdout.splitlines()] == ["✓", "✓", "-", "-"]
    assert found.stdout.count("not run: no interpreter for .onnx and .ort files") == 2
    rows = load_json(build / SMOKE, Smoke).rows
    assert [row.passed for row in rows] == [True, True, False, False]
    assert not any(row.error for row in rows)


def test_a_mismatch_counts_more_than_what_was_not_run(run, build, models, without_onnxruntime):
    (build / GOLDEN).write_bytes(models.wrong_golden.read_bytes())
    run("smoke", build, "--device", without_onnxruntime, code=1)


def test_the_other_files_are_measured(run, build, tmp_path, without_onnxruntime):
    words = ("--device", without_onnxruntime, "--seconds", "0.01")
    found = run("bench", *map(build.joinpath, reversed(NAMES)), *words, "--json", BENCH, code=3)
    assert [row.artifact for row in load_json(tmp_path / BENCH, Bench).rows] == [NAMES[0]]
    assert f"not run: bare: {NAMES[1]}: no interpreter" in found.stderr
    found = run("bench", build / NAMES[1], *words, code=2)
    assert "pip install onnxruntime" in found.stderr


def write_devices(tmp_path, **tables):
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    (tmp_path / "devices.toml").write_text("\n".join(lines) + "\n")


def ssh_table(daemon):
    return {
        "address": f"ssh://{daemon.user}@127.0.0.1:{daemon.port}",
        "workdir": str(daemon.tmp),
        "options": list(daemon.options()),
    }


def python_table(daemon):
    return {**ssh_table(daemon), "python": sys.executable}


def test_a_fleet_over_ssh_of_which_one_is_gone(run, build, tmp_path, clean):
    gone = {"address": "ssh://127.0.0.1:1"}
    write_devices(tmp_path, pi4=python_table(clean), gone=gone, here={"address": "local"})
    found = run("smoke", build, "--device", "all", code=3)
    rows = load_json(build / SMOKE, Smoke).rows
    assert [row.device for row in rows] == ["pi4"] * 4 + ["here"] * 4
    assert all(row.passed for row in rows)
    assert "error: gone: ssh://127.0.0.1:1 cannot be reached" in found.stderr
    for name in ("pi4", "gone", "here"):
        assert f"{name}: connecting" in found.stderr


def test_measurements_of_two_devices_in_one_document(run, build, tmp_path, clean):
    write_devices(tmp_path, pi4=python_table(clean))
    files = [build / name for name in NAMES]
    found = run(
        *("bench", *files, "--device", "pi4,local", "--seconds", "0.05"),
        *("--json", tmp_path / BENCH, "--profile"),
    )
    document = load_json(tmp_path / BENCH, Bench)
    assert [(row.device, row.artifact) for row in document.rows] == [
        (device, name) for device in ("pi4", "local") for name in NAMES
    ]
    assert set(document.device_state) == set(document.device_state_after) == {"pi4", "local"}
    assert all(len(row.samples_ms) >= 50 for row in document.rows)
    assert [row.model_sha256 for row in document.rows[:2]] == [hash_of(path) for path in files]
    assert document.rows[1].operators
    assert "QLinearConv" in found.stdout
    for row in document.rows:
        assert len(row.reasons) == len(row.remedies)
        assert all(remedy in found.stdout for remedy in row.remedies)


def test_turns_give_a_ratio_with_its_bounds(run, build, tmp_path):
    new, old = (build / name for name in NAMES)
    words = ("--vs", old, "--seconds", "0.06", "--rounds", "6", "--json", tmp_path / BENCH)
    found = run("bench", new, *words)
    document = load_json(tmp_path / BENCH, Bench)
    (versus,) = document.versus
    assert (versus.artifact, versus.baseline, versus.rounds) == (*NAMES, 6)
    assert versus.low <= versus.ratio <= versus.high
    assert [row.rounds for row in document.rows] == [6, 6]
    assert f"{versus.ratio:.3f} times as long as" in found.stdout
    assert "(95 %: " in found.stdout


def test_a_package_is_measured_as_the_file_in_it(run, build, tmp_path):
    package = build / f"{NAMES[0]}.ewp"
    run("bench", package, "--seconds", "0.01", "--json", tmp_path / BENCH)
    (row,) = load_json(tmp_path / BENCH, Bench).rows
    assert (row.artifact, row.model_sha256) == (NAMES[0], hash_of(build / NAMES[0]))


def test_a_build_stands_for_its_files(run, build, tmp_path):
    run("bench", build, "--seconds", "0.01", "--json", tmp_path / BENCH)
    assert [row.artifact for row in load_json(tmp_path / BENCH, Bench).rows] == list(NAMES)
    (tmp_path / "empty").mkdir()
    found = run("bench", tmp_path / "empty", code=2)
    assert "expected: a build directory with manifest.json" in found.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--device", "nowhere"), 2, "there is no device 'nowhere'"),
        (("--device", "all"), 2, "no devices are configured"),
        (("--device", "ssh://127.0.0.1:1"), 3, "cannot be reached"),
        (("--pin", "99999"), 2, "no core 99999"),
        (("--threads", "0"), 2, "threads"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(run, build, words, code, message):
    found = run("bench", build / NAMES[0], "--seconds", "0.01", *words, code=code)
    assert message in found.stderr


@pytest.mark.parametrize(
    ("device", "number", "code"),
    [("local", signal.SIGINT, 130), ("pi4", signal.SIGINT, 130), ("local", signal.SIGTERM, 143)],
)
def test_a_signal_ends_a_measurement_at_once(
    build, tmp_path, monkeypatch, clean, device, number, code
):
    """On this machine no link ends with the program: what it started is stopped by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(clean.tmp))
    write_devices(tmp_path, pi4=python_table(clean))
    words = ["bench", str(build / NAMES[0]), "--seconds", "500", "--device", device]
    argv = [sys.executable, "-m", "exporter.cli", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not any(agents(pid) for pid in clean.left()[1]) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == code
    assert f"{device}: stopped" in said
    assert "failed" not in said


def agents(pid):
    """Whether a process is the agent."""
    try:
        return b"agent.pyz" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_devices_are_listed(run, tmp_path):
    write_devices(tmp_path, pi4={"address": "ssh://pi@board", "profile": "raspberry-pi-4b"})
    found = run("devices", "list")
    assert "pi4" in found.stdout
    assert "raspberry-pi-4b" in found.stdout
    assert "local" in found.stdout
    assert found.stderr == ""


def test_a_list_without_devices_says_how_to_name_one(run):
    found = run("devices", "list")
    assert sys.executable in found.stdout
    assert "devices.toml" in found.stderr


def test_the_doctor_examines_over_ssh(run, tmp_path, clean):
    write_devices(tmp_path, board=python_table(clean))
    found = run("doctor", "board")
    assert "✓ the link stands" in found.stdout
    assert "✓ onnxruntime " in found.stdout
    assert run("devices", "doctor", "board").stdout.splitlines()[0] == "board"


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="NOT TESTED: runs an x86-64 bundle on this machine"
)
def test_a_phone_with_only_the_native_runner_is_smoked(
    run, build, tmp_path, adb_server, phone, bundle, monkeypatch
):
    """Both files and their packages, with nothing on the phone but a shell."""
    runners = tmp_path / "cache" / "edgewright" / "runners"
    runners.mkdir(parents=True)
    (runners / "x86_64").symlink_to(bundle("x86_64").directory)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = f"adb:{phone.serial}"
    write_devices(tmp_path, phone={"address": address, "runner": "native", "adb": adb_server})
    found = run("smoke", build, "--device", "phone")
    lines = lines_of(found)
    assert [line[0] for line in lines] == ["✓", "✓", "✓", "✓"]
    assert all("bit for bit" in line for line in lines)
    said = run("doctor", "phone").stdout
    assert "✓ litert" in said
    assert "✓ onnxruntime" in said
