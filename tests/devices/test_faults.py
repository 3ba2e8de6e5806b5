"""What can go wrong with an agent on the far side of ssh; afterwards nothing is left there."""

from __future__ import annotations

import os
import stat
import sys
import threading

import pytest

from devices.errors import (
    AgentError,
    CrashError,
    DeviceError,
    DeviceTimeoutError,
    LinkLostError,
    NoSpaceError,
)
from devices.remote import RemoteTransport
from devices.session import Session
from devices.ssh import SshTarget, open_ssh
from exporter.pack import pack
from runtimes.errors import MissingRuntimeError

# To the last block, that of the command's own note too.
FILL = "rm -f .pid.*; yes >fill"


@pytest.fixture
def far(clean):
    """Opens a session over ssh; afterwards the device is looked at."""
    opened = []

    def make(python, *, port=None, parent=None):
        target = SshTarget("127.0.0.1", clean.user, port or clean.port, options=clean.options(port))
        transport = open_ssh(target, parent=parent or str(clean.tmp))
        opened.append(Session(transport, str(python)))
        return opened[-1]

    yield make
    for session in opened:
        session.close()
    clean.wait_until_clean()


@pytest.fixture
def launcher(clean):
    """A program on the device that stands in for Python."""
    made = []

    def make(script):
        path = clean.root / f"python-{len(made)}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        made.append(path)
        return path

    yield make
    for path in made:
        path.unlink()


def test_a_whole_measurement(far, models):
    session = far(sys.executable)
    benched = session.bench(models.int8_tflite, seconds=0.05)
    assert benched.row.device.startswith("ssh://")
    assert benched.before.machine == benched.after.machine == os.uname().machine
    assert session.smoke(models.int8_tflite, models.golden).passed


CRASHING = """
import os, signal, sys, types
fake = types.ModuleType("onnxruntime")
fake.__version__ = "9"
fake.SessionOptions = types.SimpleNamespace
fake.InferenceSession = lambda *a, **k: os.kill(os.getpid(), signal.SIGSEGV)
sys.modules["onnxruntime"] = fake
"""


def test_a_model_that_crashes_the_interpreter_is_told_and_the_next_one_runs(
    far, launcher, clean, models
):
    """Only loading an ONNX file kills the process: the session goes on with the other file."""
    site = clean.root / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(CRASHING)
    session = far(launcher(f'PYTHONPATH={site} exec {sys.executable} "$@"'))
    with pytest.raises(CrashError, match="SIGSEGV") as caught:
        session.bench(models.int8_onnx, seconds=0)
    assert "Fatal Python error: Segmentation fault" in caught.value.found
    assert session.bench(models.int8_tflite, seconds=0, min_runs=3).row.samples_ms


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("kill -ILL $$", CrashError, "SIGILL"),
        ("echo rubbish", AgentError, "is not a report"),
        ("head -c 3000000 /dev/urandom", AgentError, "is not a report"),
        ("exit 255", AgentError, "exit code 255"),
        ("echo '@@0000000000000000 0'", AgentError, "is not a report"),
    ],
    ids=["crash", "rubbish", "binary rubbish", "ssh's own code", "a mark like ours"],
)
def test_an_agent_that_does_not_answer(far, launcher, script, error, message):
    with pytest.raises(error, match=message):
        far(launcher(script)).info()


def test_an_agent_that_hangs_is_stopped_with_what_it_started(far, launcher):
    session = far(launcher("sleep 60 & sleep 61"))
    with pytest.raises(DeviceTimeoutError):
        session.info(timeout_s=1)


def test_a_python_without_numpy_says_what_to_install(far):
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("NOT TESTED: needs a Python without numpy (Debian: python3)")
    session = far("/usr/bin/python3")
    try:
        session.info()
    except MissingRuntimeError as error:
        remedy = error.remedy
    else:
        pytest.skip("NOT TESTED: the system's Python has numpy")
    assert remedy == "pip install numpy"


def test_a_python_that_is_not_there(far):
    with pytest.raises(DeviceError, match="'/opt/python' cannot be started"):
        far("/opt/python").info()


def test_a_link_cut_in_the_middle_of_a_measurement(far, clean, cut_wire, models):
    wire = cut_wire(clean.port)
    session = far(sys.executable, port=wire.port)
    session.info()
    threading.Timer(1.5, wire.cut).start()
    with pytest.raises(LinkLostError):
        # So many runs that the window, which a small model fills early, is still open by then.
        session.bench(models.int8_tflite, seconds=60, min_runs=100_000_000)


def test_a_full_device_is_told(far, clean, models, tmp_path):
    session = far(sys.executable, parent=str(clean.small))
    large = tmp_path / "large.tflite"
    large.write_bytes(models.int8_tflite.read_bytes() + os.urandom(4 << 20))
    with pytest.raises(NoSpaceError, match="did not fit"):
        session.bench(large, seconds=0)
    assert session.bench(models.int8_tflite, seconds=0, min_runs=3).row.samples_ms


def test_a_package_that_does_not_fit_once_it_is_unpacked(far, clean, models, tmp_path):
    """It arrives, for it is small; what the agent says of the disk there is the disk's error."""
    large, package = tmp_path / "large.tflite", tmp_path / "large.tflite.ewp"
    large.write_bytes(models.int8_tflite.read_bytes() + bytes(4 << 20))
    pack(large, package)
    session = far(sys.executable, parent=str(clean.small))
    with pytest.raises(NoSpaceError, match="disk is full") as caught:
        session.bench(package, seconds=0)
    assert "No space left on device" in caught.value.found
    assert "workdir in devices.toml" in caught.value.remedy


def test_a_disk_with_no_room_for_a_command_is_told(far, clean):
    session = far(sys.executable, parent=str(clean.small))
    session.info()
    session.transport.run(["sh", "-c", FILL], timeout_s=30)
    with pytest.raises(NoSpaceError, match="disk is full"):
        session.info()


class FullLink:
    """A link to a device where not even a directory can be made."""

    name = "full"

    @property
    def environment(self):
        return dict(os.environ)

    def connect(self):
        pass

    def shell(self, _script):
        return ["sh", "-c", "echo 'mktemp: failed to create: No space left on device' >&2; exit 1"]

    def close(self):
        pass


def test_a_device_with_no_room_for_a_directory_is_told():
    with pytest.raises(NoSpaceError, match="/tmp on full is full") as caught:
        RemoteTransport(FullLink())
    assert "mktemp" in caught.value.found
    assert "workdir" in caught.value.remedy
