from __future__ import annotations

import importlib.util
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devices.local import LocalTransport
from devices.session import Session

_HERE = Path(__file__).parent


def load_helper(name, directory=_HERE):
    """Import a file beside this one: under importlib mode, tests are on no import path."""
    spec = importlib.util.spec_from_file_location(name, directory / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tiny_models = load_helper("models", _HERE.parent / "runtimes")
environments = load_helper("environments", _HERE.parent / "runtimes")
sshd = load_helper("sshd")
wire = load_helper("wire")
phones = load_helper("phone")
pies = load_helper("pi")
native_bundles = load_helper("native_bundles")
armhf = load_helper("armhf")
load_helper("pages", _HERE.parent / "docs")
page_runner = load_helper("runner", _HERE.parent / "docs")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return tiny_models.write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tflite_runtime_python():
    """A Python with tflite-runtime 2.14 and numpy 1, as on a Raspberry Pi."""
    requirements = ("tflite-runtime==2.14.0", "numpy<2")
    versions = ("3.11", "3.10", "3.9")
    return environments.environment("tflite-runtime", *requirements, versions=versions)


@pytest.fixture
def session():
    with Session(LocalTransport()) as opened:
        yield opened


@pytest.fixture
def fake_python(tmp_path):
    """A program in place of Python that does what a shell script says; gives an open session."""
    opened = []

    def make(script):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        opened.append(Session(LocalTransport(), str(program)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def daemon():
    """A real sshd of an ordinary user."""
    running = sshd.start()
    yield running
    running.stop()


@pytest.fixture
def clean(daemon):
    """The daemon; afterwards nothing may be left on the device."""
    yield daemon
    daemon.wait_until_clean()


@pytest.fixture
def cut_wire():
    """Makes a wire to a port."""
    made = []

    def make(port):
        made.append(wire.Wire(port))
        return made[-1]

    yield make
    for one in made:
        one.cut()


@pytest.fixture(scope="session", params=["adb", "adbutils"])
def adb_program(request):
    """The adb of the system, and the newer one inside the wheel of adbutils."""
    if request.param == "adb":
        return sshd.tool("adb", "adb")
    spec = importlib.util.find_spec("adbutils")
    program = Path(spec.origin).parent / "binaries" / "adb" if spec is not None else None
    if program is None or not program.exists():
        pytest.skip("NOT TESTED: needs adb as pip install --no-deps adbutils brings it")
    return str(program)


@pytest.fixture(scope="session")
def adb_server(adb_program, tmp_path_factory):
    """An adb server of the tests' own; gives the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(sshd.free_port()))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("adb")))
        patch.delenv("ANDROID_SERIAL", raising=False)
        subprocess.run([adb_program, "start-server"], capture_output=True, check=True, timeout=30)
        yield adb_program
        subprocess.run([adb_program, "kill-server"], capture_output=True, check=False, timeout=30)


@pytest.fixture(scope="session")
def make_phone():
    """Makes phones that live until the tests end."""
    made = {}

    def make(*flags):
        if flags not in made:
            made[flags] = phones.start(*flags)
        return made[flags]

    yield make
    for one in made.values():
        one.stop()


@pytest.fixture
def phone(make_phone):
    """A phone; afterwards nothing may be left on it."""
    one = make_phone()
    yield one
    one.wait_until_clean()


@pytest.fixture(scope="session")
def pi(arm64_root, enter_root):
    """A Raspberry Pi 4 under emulation, with sshd."""
    running = pies.start(
        enter_root, arm64_root, sshd.tool("ssh-keygen", "openssh-client"), sshd.free_port()
    )
    yield running
    running.stop()


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Runs a page of docs/ whose devices are the tests' own: its text with some parts changed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def call(name, changes, folder=tmp_path):
        text = (page_runner.ROOT / "docs" / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text, f"{name} does not have: {old}"
            text = text.replace(old, new)
        page = tmp_path / name
        page.write_text(text, encoding="utf-8")
        runner = page_runner.Runner(folder)
        runner.page(page)
        return runner.ran

    return call


@pytest.fixture(scope="session")
def bundle():
    """The native runner's bundle for a target, built once and kept in .venvs/."""
    return native_bundles.bundle


@pytest.fixture(scope="session")
def arm_phone(enter_root):
    """A phone that also runs arm64 programs, as a Pi 4's core would."""
    from arm64_enter import hand_arm64_programs_to_qemu

    from exporter.verify.boards import PI_4

    hand_arm64_programs_to_qemu()
    running = phones.start(board=PI_4)
    yield running
    running.wait_until_clean()
    running.stop()


@pytest.fixture
def armhf_python(tmp_path):
    """A 32-bit ARM Python with tflite-runtime, under emulation."""
    return str(armhf.python(armhf.make_root(), tmp_path))
