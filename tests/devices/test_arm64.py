"""A Raspberry Pi under emulation, over its own sshd: outputs and errors, never times or memory."""

from __future__ import annotations

import pytest

from devices.cargo import Cargo
from devices.config import Device
from devices.doctor import examine
from devices.native import NativeRunner
from devices.session import Feeding, Session
from runtimes.values import sha256_of

NCHW = Feeding(input_layouts=("NCHW",), output_layouts=("NCHW",))
NEW, OLD = "/opt/runtimes/python", "/opt/tflite-runtime/python"

pytestmark = pytest.mark.slow


@pytest.fixture
def device(pi):
    return Device(name="pi4", address=pi.address, options=pi.options, python=NEW)


@pytest.mark.parametrize(
    ("model", "feeding", "runtime"),
    [
        ("int8_tflite", Feeding(), ("litert", "xnnpack")),
        ("int8_onnx", NCHW, ("onnxruntime", "none")),
    ],
)
def test_the_outputs_are_this_machines(device, models, model, feeding, runtime):
    with device.open() as session:
        found = session.smoke(getattr(models, model), models.golden, feeding=feeding)
    assert (found.runtime, found.delegate) == runtime
    assert found.passed
    assert found.sha256 == sha256_of([models.outputs])


def test_a_measurement_is_a_whole_report_and_not_valid_under_powersave(device, models):
    with device.changed({"pin": "0"}).open() as session:
        benched = session.bench(models.int8_tflite, seconds=0, min_runs=5)
    row = benched.row
    assert row.device == "pi4"
    assert (row.runtime, row.delegate, row.cpus) == ("litert", "xnnpack", (0,))
    assert len(row.samples_ms) >= 5
    assert benched.before.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert benched.before.governors == ("powersave",)
    assert [look.frequency_mhz for look in row.watched] == [600.0]
    assert not row.valid
    assert any("performance" in remedy for remedy in row.remedies)


def test_the_old_interpreter_runs_beside_the_new_one(device, models):
    """tflite-runtime 2.14 with numpy 1, whose builtin kernels may round differently."""
    with device.changed({"python": OLD}).open() as session:
        found = session.smoke(models.int8_tflite, models.golden)
        dense = session.smoke(models.dense_tflite, models.golden)
    assert (found.runtime, found.runtime_version) == ("tflite_runtime", "2.14.0")
    assert (found.delegate, found.values) == (dense.delegate, dense.values) == ("none", 840)
    assert max(found.max_lsb, dense.max_lsb) <= 1


def test_the_doctor_knows_the_board_and_warns_of_the_old_interpreter(device):
    found = examine(device.changed({"python": OLD}))
    said = [finding.what for finding in found.findings]
    assert found.error is None
    assert "profile: Raspberry Pi 4 Model B" in said
    assert "tflite_runtime 2.14.0" in said
    warning = next(one for one in found.findings if "to crash on ARM" in one.what)
    assert warning.level == "warning"
    assert "pip install ai-edge-litert" in warning.remedy
    assert any("powersave" in one.what and one.remedy for one in found.findings)


def test_the_doctor_brings_an_environment_where_the_system_allows_nothing_else(device):
    """Debian 12's own Python, which has no numpy and takes no packages (PEP 668)."""
    found = examine(device.changed({"python": "python3"}))
    assert found.exit_code == 1
    missing = found.findings[-1]
    assert "No module named 'numpy'" in missing.what
    assert "python3 -m venv ~/edgewright && ~/edgewright/bin/python -m pip" in missing.remedy
    assert missing.remedy.startswith(f'ssh -p {device.address.rpartition(":")[2]} pi@127.0.0.1 "')


def test_the_native_runner_gives_the_same_outputs(device, models, bundle):
    transport = device.connect()
    runner = NativeRunner(transport, Cargo(transport), bundle("aarch64"))
    with Session(transport, runner=runner) as session:
        tflite = session.smoke(models.int8_tflite, models.golden)
        onnx = session.smoke(models.int8_onnx, models.golden, feeding=NCHW)
    assert (tflite.runtime, onnx.runtime) == ("litert", "onnxruntime")
    assert tflite.sha256 == onnx.sha256 == sha256_of([models.outputs])
