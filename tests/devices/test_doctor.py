from __future__ import annotations

import dataclasses
import json
import shlex

import pytest

from devices import doctor
from devices.config import Device
from devices.doctor import Examination, Finding, examine
from devices.errors import DeviceError, UnreachableError
from devices.install import install_command, tflite_packages
from devices.session import Session
from devices.state import DeviceState
from devices.transport import Result
from runtimes.report import SCHEMA_VERSION, InfoReport, Interpreter

INFO = InfoReport(
    python="3.11.2",
    numpy="2.1.0",
    machine="aarch64",
    os="Linux",
    cores=4,
    interpreters=(Interpreter("litert", "2.3.0"), Interpreter("onnxruntime", "1.32.0")),
)
HERE = Device(name="here", address="local")
PI = Device(name="pi4", address="ssh://pi@board:2222", python="~/venv/bin/python")


def test_this_machine_is_well():
    found = examine(HERE)
    assert found.error is None
    assert found.exit_code == 0
    said = [one.what for one in found.findings]
    assert any(text.startswith("litert ") for text in said)
    assert any("B are free" in text for text in said)


def test_a_device_that_is_not_there_says_how_to_reach_it():
    found = examine(Device(name="gone", address="ssh://127.0.0.1:1"))
    assert isinstance(found.error, UnreachableError)
    assert found.exit_code == 3
    assert found.findings[0].what.startswith("ssh is ")
    assert found.findings[-1].level == "bad"
    assert "ssh is enabled" in found.findings[-1].remedy


def test_a_missing_adb_is_named():
    found = examine(Device(name="phone", address="adb:X", adb="/no/such/adb"))
    assert found.findings[0] == Finding(
        "bad", "/no/such/adb is missing on this machine", "install adb"
    )


def test_a_python_that_is_not_there_offers_both_ways():
    found = examine(HERE.changed({"python": "/no/such/python"}))
    assert found.exit_code == 1
    assert "name another: python in devices.toml" in found.findings[-1].remedy
    assert "build-runner" in found.findings[-1].remedy


def test_a_program_that_is_no_python_keeps_its_own_remedy(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "python").chmod(0o755)
    found = examine(HERE.changed({"python": str(tmp_path / "python")}))
    assert "starts without a word" in found.findings[-1].remedy


NO_NUMPY = """#!/bin/sh
case "$*" in
-c*) echo {managed} ;;
*) cat >/dev/null; echo '{answer}' ;;
esac
"""


@pytest.mark.parametrize(
    ("managed", "command"),
    [
        ("False", "{python} -m pip install ai-edge-litert onnxruntime"),
        (
            "True",
            "{python} -m venv ~/edgewright && "
            "~/edgewright/bin/python -m pip install ai-edge-litert onnxruntime; "
            'then in devices.toml: python = "~/edgewright/bin/python"',
        ),
    ],
)
def test_a_python_without_numpy_gets_all_that_it_lacks(tmp_path, managed, command):
    """A system's Python takes no packages (PEP 668): the command makes an environment."""
    error = {"type": "MissingRuntimeError", "problem": "the agent cannot start", "remedy": "numpy"}
    answer = json.dumps({"schema_version": SCHEMA_VERSION, "ok": False, "error": error})
    python = tmp_path / "python"
    python.write_text(NO_NUMPY.format(managed=managed, answer=answer))
    python.chmod(0o755)
    found = examine(HERE.changed({"python": str(python)}))
    assert (found.findings[-1].level, found.exit_code) == ("bad", 1)
    assert found.findings[-1].remedy == command.format(python=python)


class Silent:
    """A transport to a device whose Python says nothing."""

    name = "silent"

    def run(self, argv, *, timeout_s, stdin=""):
        if argv[0] == "sh":
            return Result(0, "/home/pi", "")
        raise DeviceError("no such program")


def test_quotes_of_a_command_for_another_shell():
    found = install_command(PI, Silent(), tflite_packages("armv7l"))
    command = "~/venv/bin/python -m pip install tflite-runtime 'numpy<2'"
    assert found == f'ssh -p 2222 pi@board "{command}"'
    assert shlex.split(found) == ["ssh", "-p", "2222", "pi@board", command]
    odd = install_command(PI.changed({"python": "/opt/$x/python"}), Silent(), ["numpy"])
    assert odd == "ssh -p 2222 pi@board '/opt/$x/python -m pip install numpy'"


@pytest.mark.parametrize(
    ("changes", "level", "what", "remedy"),
    [
        ({"python": "3.8.10"}, "bad", "Python 3.8.10", "3.9 or newer"),
        (
            {"interpreters": (Interpreter("tflite_runtime", "2.14.0"),)},
            "warning",
            "to crash on ARM",
            'ssh -p 2222 pi@board "~/venv/bin/python -m pip install ai-edge-litert"',
        ),
        (
            {"interpreters": (Interpreter("tflite_runtime", "2.14.0"),), "machine": "armv7l"},
            "warning",
            "to crash on ARM",
            "edgewright smoke tells",
        ),
        (
            {"interpreters": (Interpreter("tflite_runtime", "2.14.0"),), "machine": "armv8l"},
            "warning",
            "no interpreter for .onnx",
            "ship the .tflite file",
        ),
        ({"interpreters": (), "machine": "armv8l"}, "bad", ".tflite", "tflite-runtime 'numpy<2'"),
        ({"interpreters": ()}, "bad", "no interpreter for .tflite", "pip install ai-edge-litert"),
        (
            {"interpreters": (Interpreter("litert", "2.3.0"),)},
            "warning",
            "no interpreter for .onnx",
            "pip install onnxruntime",
        ),
        (
            {
                "interpreters": (
                    Interpreter("tflite_runtime", None, "needs numpy<2, found numpy 2"),
                )
            },
            "warning",
            "needs numpy<2",
            "",
        ),
    ],
)
def test_what_the_agent_tells_is_judged(monkeypatch, changes, level, what, remedy):
    monkeypatch.setattr(Session, "info", lambda _self: dataclasses.replace(INFO, **changes))
    found = list(doctor._agent(PI, Session(Silent()), DeviceState()))
    (fitting,) = [one for one in found if what in one.what]
    assert fitting.level == level
    assert remedy in fitting.remedy


def test_the_old_interpreter_is_no_trouble_on_x86(monkeypatch):
    changes = {"machine": "x86_64", "interpreters": (Interpreter("tflite_runtime", "2.14.0"),)}
    monkeypatch.setattr(Session, "info", lambda _self: dataclasses.replace(INFO, **changes))
    found = list(doctor._agent(PI, Session(Silent()), DeviceState()))
    assert not any("crash" in one.what for one in found)


def test_state_and_profile_are_judged():
    state = DeviceState(
        model="Raspberry Pi 4 Model B Rev 1.4", governors=("powersave",), frequency_max_mhz=600.0
    )
    found = list(doctor._state(PI, state))
    texts = [one.what for one in found]
    assert "profile: Raspberry Pi 4 Model B" in texts
    assert any("limited to 600 of 1500 MHz" in text for text in texts)
    assert any("powersave" in one.what and one.remedy for one in found)


@pytest.mark.parametrize(("levels", "code"), [((), 0), (("good", "warning"), 0), (("bad",), 1)])
def test_exit_codes(levels, code):
    assert Examination(HERE, tuple(Finding(level, "x") for level in levels)).exit_code == code
