from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from devices.agent import build_agent
from devices.errors import (
    AgentError,
    CrashError,
    DeviceError,
    DeviceTimeoutError,
    UnknownDeviceError,
)
from devices.local import LocalTransport
from devices.session import Feeding, Session, open_device
from runtimes.errors import EdgewrightError, MissingRuntimeError, ModelError
from runtimes.values import sha256_of

NCHW = Feeding(input_layouts=("NCHW",), output_layouts=("NCHW",))


def test_info(session):
    found = session.info()
    assert found.python == sys.version.split()[0]
    assert {one.name for one in found.interpreters if one.version} >= {"litert", "onnxruntime"}


def test_a_row_is_a_row_of_bench_json(session, models):
    build = pytest.importorskip("exporter.build")
    benched = session.bench(models.int8_tflite, seconds=0.02, min_runs=10, threads=2)
    row = build.BenchRow(**dataclasses.asdict(benched.row))
    assert set(build.BenchRow.model_fields) == {f.name for f in dataclasses.fields(benched.row)}
    assert (row.artifact, row.device, row.threads) == ("tiny.int8.tflite", "local", 2)
    assert (row.runtime, row.delegate) == ("litert", "xnnpack")
    assert row.p50_ms == pytest.approx(float(np.median(row.samples_ms)))
    assert row.model_sha256 == hashlib.sha256(models.int8_tflite.read_bytes()).hexdigest()
    assert row.model_bytes == models.int8_tflite.stat().st_size
    assert row.valid == (not row.reasons)
    assert len(row.reasons) == len(row.remedies)
    assert benched.report.inputs[0].shape == (1, 4, 6, 3)


@pytest.mark.parametrize(
    ("model", "feeding"),
    [("int8_tflite", Feeding()), ("int8_tflite", Feeding(batch=4)), ("int8_onnx", NCHW)],
)
def test_run_brings_the_outputs_back(session, models, tmp_path, model, feeding):
    saved = tmp_path / "mine.npz"
    found = session.run(getattr(models, model), models.golden, outputs=saved, feeding=feeding)
    with np.load(saved) as arrays:
        np.testing.assert_array_equal(arrays["output.0"], models.outputs)
    assert found.sha256 == sha256_of([models.outputs])


def test_a_dense_layer_gives_the_same_numbers(session, models):
    assert session.smoke(models.dense_tflite, models.golden).passed


@pytest.mark.parametrize(("golden", "differing"), [("golden", 0), ("wrong_golden", 3)])
def test_smoke_compares(session, models, golden, differing):
    found = session.smoke(models.int8_onnx, getattr(models, golden), feeding=NCHW)
    assert (found.passed, found.differing) == (differing == 0, differing)


def test_an_environment_of_its_own_needs_nothing_of_ours(models, tflite_runtime_python):
    with Session(LocalTransport(), tflite_runtime_python) as board:
        info = board.info()
        report = board.bench(models.int8_tflite, seconds=0.02)
        smoke = board.smoke(models.int8_tflite, models.golden)
    assert info.numpy.startswith("1.")
    assert (report.row.runtime, report.row.delegate) == ("tflite_runtime", "none")
    assert smoke.max_lsb <= 1


def test_every_request_is_a_fresh_process(fake_python, tmp_path):
    log = tmp_path / "log"
    opened = fake_python(f'echo "$$ $1" >> {log}; exec {sys.executable} "$@"')
    opened.info()
    opened.info()
    first, second = (line.split() for line in log.read_text().splitlines())
    assert first[0] != second[0]
    assert first[1] == second[1]
    assert first[1].endswith("agent.pyz")


@pytest.mark.parametrize(
    ("content", "suffix", "message"),
    [
        (None, "tflite", "is missing"),
        (b"garbage" * 9, "tflite", "refuses"),
        (b"", "onnx", "refuses"),
    ],
    ids=["missing", "garbage", "empty"],
)
def test_bad_models_are_model_errors(session, tmp_path, content, suffix, message):
    path = tmp_path / f"bad.{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        session.bench(path, seconds=0)
    assert caught.value.exit_code == 2


def test_a_missing_interpreter_keeps_its_remedy(session, models):
    with pytest.raises(MissingRuntimeError) as caught:
        session.bench(models.int8_tflite, runtime="tflite_runtime")
    assert "pip install ai-edge-litert" in caught.value.remedy
    assert "tflite_runtime: No module named" in caught.value.found


def test_a_bad_request_is_refused_by_the_agent(session, models):
    with pytest.raises(EdgewrightError, match="'threads'"):
        session.bench(models.int8_tflite, threads=0)


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("kill -SEGV $$", "SIGSEGV"),
        ("kill -ABRT $$", "SIGABRT"),
        ("kill -KILL $$", "SIGKILL"),
        ("kill -ILL $$", "SIGILL"),
        ("exit 139", "SIGSEGV"),  # as a shell in between tells it
        ("echo '{\"ok\": true}'; kill -BUS $$", "SIGBUS"),
    ],
)
def test_a_crash_names_its_signal(fake_python, script, name):
    with pytest.raises(CrashError, match=name) as caught:
        fake_python(f"echo 'last words' >&2; {script}").info()
    assert "last words" in caught.value.found
    assert caught.value.exit_code == 3


def test_a_crash_inside_an_interpreter_leaves_a_trace(models, tmp_path):
    (tmp_path / "onnxruntime.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    )
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    with (
        Session(LocalTransport(), str(launcher)) as opened,
        pytest.raises(AgentError, match="SIGSEGV") as caught,
    ):
        opened.bench(models.int8_onnx)
    assert "onnxruntime" in caught.value.found or "runpy" in caught.value.found


@pytest.mark.parametrize(
    "script",
    [
        "echo rubbish and more",
        "echo rubbish; echo '{\"ok\": true}'",
        "echo '[\"rubbish\"]'",
        'echo \'{"schema_version": 1, "ok": true, "report": {"rubbish": 1}}\'',
        'echo \'{"schema_version": 1, "ok": false, "error": "rubbish"}\'',
        'echo \'{"schema_version": 1, "ok": "rubbish"}\'',
    ],
)
def test_rubbish_is_shown(fake_python, script):
    with pytest.raises(AgentError, match="is not a report") as caught:
        fake_python(script).info()
    assert "rubbish" in caught.value.found


def test_only_the_start_of_rubbish_is_shown(fake_python):
    with pytest.raises(AgentError) as caught:
        fake_python("printf 'a%.0s' $(seq 200); printf 'b%.0s' $(seq 5000)").info()
    assert "a" * 200 in caught.value.found
    assert "bb" not in caught.value.found


def test_silence_shows_what_was_said_on_stderr(fake_python):
    with pytest.raises(AgentError, match="exit code 1") as caught:
        fake_python("echo 'cannot start' >&2; exit 1").info()
    assert "cannot start" in caught.value.found


def test_an_error_of_the_agents_own_is_an_agent_error(fake_python):
    document = (
        '{"schema_version": 1, "ok": false, "error": {"type": "InternalError", "message": "m", '
        '"exit_code": 3, "problem": "KeyError: 5", "expected": "", "found": "", "remedy": ""}}'
    )
    with pytest.raises(AgentError, match="KeyError: 5"):
        fake_python(f"echo '{document}'; exit 3").info()


def test_a_timeout_is_its_own_error(fake_python):
    with pytest.raises(DeviceTimeoutError) as caught:
        fake_python("sleep 60").info(timeout_s=0.3)
    assert caught.value.exit_code == 3


def test_a_python_that_is_not_there_is_named():
    with (
        Session(LocalTransport(), "/no/such/python") as opened,
        pytest.raises(DeviceError, match="/no/such/python"),
    ):
        opened.info()


def test_open_local_and_leave_nothing():
    with open_device("local") as opened:
        assert opened.name == "local"
        assert opened.state().to_dict()["cores"]
        workdir = Path(opened.transport.workdir)
        assert opened.info(timeout_s=60).python
        assert workdir.exists()
    assert not workdir.exists()


@pytest.mark.parametrize("name", ["pi4", "Local", "", "http://a"])
def test_unknown_devices_list_those_available(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(UnknownDeviceError, match=f"'{name}'") as caught:
        open_device(name)
    assert caught.value.remedy.endswith("available: local")
    assert caught.value.exit_code == 2


def test_a_state_that_spoils_a_measurement_makes_the_row_invalid(models, tmp_path, monkeypatch):
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x4\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with Session(LocalTransport()) as opened:
        benched = opened.bench(models.int8_tflite, seconds=0, min_runs=3)
    row = benched.row
    index = row.reasons.index("the device is limited now (throttled)")
    assert not row.valid
    assert "cool it" in row.remedies[index]
    assert sum("limited now" in note for note in row.notes) == 1
    assert benched.before.throttled_now == benched.after.throttled_now == ("throttled",)


def test_a_machine_that_gets_busy_while_it_measures_makes_the_row_invalid(models, tmp_path):
    """The agent is stopped and goes on again and again, as a busy core would have it."""
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nexec 3<&0\n{sys.executable} "$@" <&3 & p=$!\n'
        "while kill -STOP $p; do sleep 0.03; kill -CONT $p; sleep 0.02; done 2>/dev/null\nwait $p\n"
    )
    (tmp_path / "python").chmod(0o755)
    with Session(LocalTransport(), str(tmp_path / "python")) as opened:
        row = opened.bench(models.int8_tflite, seconds=0.6, min_runs=3).row
    assert not row.valid
    assert any("other work came in between" in reason for reason in row.reasons)


@pytest.fixture
def python_with_site(tmp_path):
    """A Python that runs some code first, as another device's clock would."""

    def make(code):
        (tmp_path / "sitecustomize.py").write_text(code)
        launcher = tmp_path / "python"
        launcher.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
        launcher.chmod(0o755)
        return str(launcher)

    return make


TO_AND_FRO = """
import itertools, time
real, calls = time.perf_counter_ns, itertools.count()
time.perf_counter_ns = lambda: real() + (3600 * 10**9 if next(calls) % 5 == 0 else 0)
"""

# The agent asks for its processor time right before the steady window, and again after it.
ONCE_IN_THE_WINDOW = """
import sys, time
real, processor, calls = time.perf_counter_ns, time.process_time, []
def process_time():
    if sys._getframe(1).f_code.co_name == "measure":
        calls.append(1)
    return processor()
def clock():
    if calls:
        calls.append(1)
    return real() + (3600 * 10**9 if len(calls) > 21 else 0)  # within a run
time.process_time, time.perf_counter_ns = process_time, clock
"""


def test_a_device_clock_that_jumps_to_and_fro_is_refused(models, python_with_site):
    with (
        Session(LocalTransport(), python_with_site(TO_AND_FRO)) as opened,
        pytest.raises(EdgewrightError, match="clock ran backwards"),
    ):
        opened.bench(models.int8_tflite, seconds=0, min_runs=400)


def test_a_device_clock_that_jumps_once_makes_the_row_invalid(models, python_with_site):
    with Session(LocalTransport(), python_with_site(ONCE_IN_THE_WINDOW)) as opened:
        row = opened.bench(models.int8_tflite, seconds=0, min_runs=400).row
    assert not row.valid
    assert any("the device's clock jumped: 3600" in reason for reason in row.reasons)


def test_the_wall_clock_does_not_matter(models, python_with_site):
    python = python_with_site(
        "import time, itertools\ncount = itertools.count()\ntime.time = lambda: next(count) * -1e6"
    )
    with Session(LocalTransport(), python) as opened:
        row = opened.bench(models.int8_tflite, seconds=0.02).row
    assert 0 < min(row.samples_ms) <= max(row.samples_ms) < 1000


@pytest.mark.parametrize(("pin", "cpus"), [("0", (0,)), (None, None)])
def test_pinning_holds_for_the_process_that_measures(models, pin, cpus):
    with Session(LocalTransport(), pin=pin) as opened:
        row = opened.bench(models.int8_tflite, seconds=0, min_runs=3).row
    assert row.cpus == (cpus or tuple(sorted(os.sched_getaffinity(0))))


def test_two_files_of_one_name_are_two(session, models, tmp_path):
    (tmp_path / "old").mkdir()
    other = tmp_path / "old" / models.int8_tflite.name
    other.write_bytes(models.float_tflite.read_bytes())
    first, second, again = (
        session.bench(path, seconds=0, min_runs=3)
        for path in (models.int8_tflite, other, models.int8_tflite)
    )
    assert first.row.artifact == second.row.artifact == again.row.artifact
    assert first.row.model_sha256 == again.row.model_sha256 != second.row.model_sha256
    assert second.report.inputs[0].dtype == "float32"


def test_a_file_that_changed_is_carried_again(session, models, tmp_path):
    path = tmp_path / "model.tflite"
    hashes = []
    for source in (models.int8_tflite, models.float_tflite):
        path.write_bytes(source.read_bytes())
        hashes.append(session.bench(path, seconds=0, min_runs=3).row.model_sha256)
    assert hashes[0] != hashes[1]


def test_a_profile_names_operators_slowest_first(session, models):
    operators, notes = session.profile(models.int8_onnx)
    assert "QLinearConv" in {one.kind for one in operators}
    times = [one.mean_ms for one in operators]
    assert times == sorted(times, reverse=True)
    assert min(times) >= 0
    assert notes == ()


def test_a_runtime_without_a_profiler_says_so(session, models):
    operators, notes = session.profile(models.int8_tflite)
    assert operators == ()
    assert "benchmark_model" in notes[0]


def test_the_agent_is_one_file_of_sources(tmp_path):
    target = tmp_path / "agent.pyz"
    build_agent(target)
    with zipfile.ZipFile(target) as archive:
        names = set(archive.namelist())
    assert {"__main__.py", "runtimes/__main__.py", "runtimes/errors.py"} <= names
    assert all(name.endswith((".py", "/")) for name in names)
    done = subprocess.run(
        [sys.executable, "-S", str(target)],
        input='{"action": "info"}',
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    # -S leaves site-packages out, and numpy with them: what runs is the file alone.
    assert done.returncode == 2
    assert "pip install numpy" in done.stdout
