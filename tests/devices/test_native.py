"""The native runner: on this machine, and on phones with a shell and nothing else."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import zipfile

import numpy as np
import onnx.parser
import pytest
from typer.testing import CliRunner

from devices.adb import open_adb
from devices.build_runner import LITERT_VERSION, build_runner
from devices.bundle import MANIFEST, bundle_for, default_directory, load_bundle
from devices.cargo import Cargo
from devices.errors import AgentError, CrashError, DeviceError, MissingToolError
from devices.local import LocalTransport
from devices.native import NativeRunner
from devices.session import Feeding, Session
from exporter.cli import app
from exporter.pack import pack
from runtimes.errors import EdgewrightError, MissingRuntimeError, ModelError
from runtimes.values import sha256_of

NCHW = Feeding(input_layouts=("NCHW",), output_layouts=("NCHW",))

needs_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="NOT TESTED: runs an x86-64 bundle on this machine"
)


def native_session(transport, bundle):
    return Session(transport, runner=NativeRunner(transport, Cargo(transport), bundle))


@pytest.fixture
def native(bundle):
    with native_session(LocalTransport(), bundle("x86_64")) as session:
        yield session


@needs_x86
class TestHere:
    """With ONNX Runtime, and LiteRT through its own C API."""

    def test_info_tells_its_interpreters(self, native):
        found = native.info()
        versions = {one.name: one.version for one in found.interpreters}
        assert found.machine == platform.machine()
        assert versions["onnxruntime"][0].isdigit()
        assert versions["litert"] == LITERT_VERSION

    @pytest.mark.parametrize(("golden", "differing"), [("golden", 0), ("wrong_golden", 3)])
    def test_smoke_compares_bit_for_bit(self, native, models, golden, differing):
        found = native.smoke(models.int8_onnx, getattr(models, golden), feeding=NCHW)
        assert (found.passed, found.differing, found.count) == (differing == 0, differing, 7)
        assert found.sha256 == sha256_of([models.outputs])

    @pytest.mark.parametrize(("golden", "differing"), [("golden", 0), ("wrong_golden", 3)])
    def test_a_tflite_file_is_compared_too(self, native, models, golden, differing):
        found = native.smoke(models.int8_tflite, getattr(models, golden))
        assert (found.passed, found.differing, found.count) == (differing == 0, differing, 7)
        assert found.sha256 == sha256_of([models.outputs])

    def test_a_tflite_file_is_measured_and_described(self, native, session, models):
        ours, agents = (
            one.bench(models.int8_tflite, seconds=0.05, min_runs=20) for one in (native, session)
        )
        assert (ours.row.runtime, ours.row.runtime_version) == ("litert", LITERT_VERSION)
        assert len(ours.row.samples_ms) >= 20
        for mine, its in zip(
            (*ours.report.inputs, *ours.report.outputs),
            (*agents.report.inputs, *agents.report.outputs),
            strict=True,
        ):
            assert np.float32(mine.scale) == np.float32(its.scale)
            assert dataclasses.replace(mine, scale=its.scale) == its

    def test_a_package_is_unpacked_here_and_it_says_so(self, native, models, tmp_path):
        package = tmp_path / "tiny.int8.onnx.ewp"
        pack(models.int8_onnx, package)
        found = native.smoke(package, models.golden, feeding=NCHW)
        assert found.passed
        assert found.artifact == "tiny.int8.onnx"
        assert any("unpacked on this machine" in note for note in found.notes)

    def test_run_brings_the_outputs_back(self, native, models, tmp_path):
        saved = tmp_path / "out.npz"
        native.run(models.int8_onnx, models.golden, outputs=saved, feeding=NCHW)
        with np.load(saved) as arrays:
            np.testing.assert_array_equal(arrays["output.0"], models.outputs)

    def test_a_measurement_is_as_the_agents(self, native, session, models):
        ours, agents = (
            one.bench(models.int8_onnx, seconds=0.05, min_runs=20) for one in (native, session)
        )
        assert (ours.row.runtime, ours.row.delegate) == ("onnxruntime", "none")
        assert len(ours.row.samples_ms) >= 20
        assert not any("clock jumped" in reason for reason in ours.row.reasons)
        assert ours.row.p50_ms == pytest.approx(float(np.median(ours.row.samples_ms)))
        assert ours.row.model_sha256 == agents.row.model_sha256
        assert ours.row.cpus == agents.row.cpus
        assert 0 < ours.row.memory_before_bytes < ours.row.peak_load_bytes
        # No Python, no numpy: a whole megabyte is left of tens.
        assert ours.row.memory_before_bytes < agents.row.memory_before_bytes
        shape = [(one.shape, one.dtype) for one in ours.report.inputs]
        assert shape == [(one.shape, one.dtype) for one in agents.report.inputs]

    def test_floats_run_too(self, native, models):
        row = native.bench(models.float_onnx, seconds=0, min_runs=3).row
        assert row.artifact == "tiny.fp32.onnx"

    def test_outputs_of_16_bits_come_back(self, native, tmp_path):
        made = onnx.parser.parse_model(
            """<ir_version: 10, opset_import: ["": 21]>
            net (float[1, 4] x) => (int16[1, 4] y)
            <float s = {0.001}, int16 z = {0}> { y = QuantizeLinear(x, s, z) }"""
        )
        path, given, saved = (tmp_path / name for name in ("n.onnx", "given.npz", "out.npz"))
        onnx.save(made, path)
        np.savez(given, **{"input.0": np.array([[1.0, -30.0, 0.25, 99.0]], np.float32)})
        native.run(path, given, outputs=saved, feeding=Feeding())
        with np.load(saved) as arrays:
            assert arrays["output.0"].dtype == np.int16
            np.testing.assert_array_equal(arrays["output.0"], [[1000, -30000, 250, 32767]])

    def test_there_is_no_profile_and_it_says_so(self, native, models):
        operators, notes = native.profile(models.int8_onnx)
        assert operators == ()
        assert "no profiler" in notes[0]

    def test_garbage_is_refused_by_the_interpreter(self, native, tmp_path):
        path = tmp_path / "bad.onnx"
        path.write_bytes(b"garbage" * 20)
        with pytest.raises(ModelError, match="onnxruntime refuses the file"):
            native.bench(path)

    def test_what_the_bundle_lacks_is_named(self, bundle, models):
        lacking = dataclasses.replace(bundle("x86_64"), interpreters=("libonnxruntime.so.1",))
        with (
            native_session(LocalTransport(), lacking) as session,
            pytest.raises(MissingRuntimeError, match="no interpreter for tiny") as caught,
        ):
            session.bench(models.int8_tflite)
        assert "build-runner --target x86_64" in caught.value.remedy

    def test_builtin_kernels_are_refused(self, native, models):
        with pytest.raises(ModelError, match="XNNPACK"):
            native.bench(models.int8_onnx, delegate="none")

    def test_another_batch_is_refused(self, native, models):
        feeding = dataclasses.replace(NCHW, batch=3)
        with pytest.raises(ModelError, match="in the batch that it was made with"):
            native.smoke(models.int8_onnx, models.golden, feeding=feeding)

    def test_a_forgotten_layout_is_refused(self, native, models):
        with pytest.raises(ModelError, match="NCHW"):
            native.smoke(models.int8_onnx, models.golden)

    @pytest.mark.parametrize(
        ("program", "error", "message"),
        [
            ("int main(void) { __builtin_trap(); }", CrashError, "SIGILL"),
            ("int main(void) { puts({}); }", AgentError, "another version"),
            ("int main(void) { return 5; }", AgentError, "exit code 5"),
        ],
        ids=["crash", "another version", "silence"],
    )
    def test_a_program_that_does_not_answer(
        self, bundle, models, tmp_path, program, error, message
    ):
        broken = tmp_path / "bundle"
        broken.mkdir()
        for path in bundle("x86_64").directory.iterdir():
            if path.name != "runner":
                (broken / path.name).symlink_to(path)
        answer = json.dumps(json.dumps({"schema_version": 0}))
        source = tmp_path / "runner.c"
        source.write_text("#include <stdio.h>\n" + program.replace("{}", answer))
        subprocess.run(["/usr/bin/gcc", source, "-o", broken / "runner"], check=True)
        with (
            native_session(LocalTransport(), load_bundle(broken)) as session,
            pytest.raises(error, match=message),
        ):
            session.bench(models.int8_onnx)


@needs_x86
def test_a_phone_without_python_or_libc(adb_server, phone, bundle, models):
    transport = open_adb(phone.serial, program=adb_server)
    with native_session(transport, bundle("x86_64")) as session:
        assert session.state().machine == "x86_64"
        found = session.smoke(models.int8_onnx, models.golden, feeding=NCHW)
        row = session.bench(models.int8_onnx, seconds=0, min_runs=5).row
    assert found.sha256 == sha256_of([models.outputs])
    assert row.device == f"adb:{phone.serial}"
    assert len(row.samples_ms) >= 5


@pytest.mark.slow
def test_an_arm_phone_runs_both_interpreters(adb_server, arm_phone, bundle, models):
    """arm64 programs under emulation, behind the shell of this machine's kind."""
    transport = open_adb(arm_phone.serial, program=adb_server)
    with native_session(transport, bundle("aarch64")) as session:
        tflite = session.smoke(models.int8_tflite, models.golden)
        onnx = session.smoke(models.int8_onnx, models.golden, feeding=NCHW)
        row = session.bench(models.int8_tflite, seconds=0, min_runs=5).row
    assert tflite.sha256 == onnx.sha256 == sha256_of([models.outputs])
    assert (row.runtime, row.runtime_version[0]) == ("litert", "2")


def test_the_bundle_for_a_device_is_chosen_by_its_machine(bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="no native runner") as caught:
        bundle_for("aarch64")
    assert "build-runner --target aarch64" in caught.value.remedy
    with pytest.raises(DeviceError, match="no native runner for 'riscv64'"):
        bundle_for("riscv64")
    default_directory("aarch64").parent.mkdir(parents=True)
    default_directory("aarch64").symlink_to(bundle("aarch64").directory)
    assert bundle_for("aarch64").target == "aarch64"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 0}'])
def test_a_damaged_bundle_says_how_to_build_it_again(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(MissingRuntimeError, match="no native runner in"):
        load_bundle(tmp_path)


def test_a_bundle_of_another_version_is_refused(tmp_path):
    fields = {
        "schema_version": 99,
        "target": "aarch64",
        "loader": "l",
        "base": [],
        "interpreters": [],
    }
    (tmp_path / MANIFEST).write_text(json.dumps(fields))
    with pytest.raises(MissingRuntimeError, match="another version"):
        load_bundle(tmp_path)


def test_a_target_that_is_none(tmp_path):
    with pytest.raises(EdgewrightError, match="no target 'mips'") as caught:
        build_runner("mips", tmp_path / "out")
    assert caught.value.exit_code == 2
    assert "aarch64" in caught.value.expected


WHEELS = {
    "ai_edge_litert-2.0.3-cp311-none-manylinux_2_17_aarch64.whl": (
        "libLiteRtRuntimeCApi.so",
        "ai_edge_litert/libLiteRtRuntimeCApi.so",
    ),
    "onnxruntime-1.32.0-cp311-none-manylinux_2_28_aarch64.whl": (
        "libonnxruntime.so.1",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
    ),
}


def test_the_command_builds_a_bundle_of_wheels_that_are_here(bundle, tmp_path):
    """A real compilation; no wheel is fetched in place of those that are named."""
    bundle("aarch64")  # or the test is skipped, for want of a compiler
    words = []
    for name, (library, member) in WHEELS.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, f"{library} of this wheel")
        words += ["--wheel", str(tmp_path / name)]
    out = tmp_path / "runner"
    command = ["devices", "build-runner", "--target", "aarch64", "--out", str(out), *words]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    assert f"{out}: " in found.output
    assert load_bundle(out).interpreters == ("libLiteRtRuntimeCApi.so", "libonnxruntime.so.1")
    program = (out / "runner").read_bytes()
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == 183  # EM_AARCH64
    for library, _ in WHEELS.values():
        assert (out / library).read_text() == f"{library} of this wheel"


def test_a_missing_compiler_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match="no compiler for aarch64") as caught:
        build_runner("aarch64", tmp_path / "out")
    assert "gcc-aarch64-linux-gnu" in caught.value.remedy
    assert not (tmp_path / "out").exists()
