from __future__ import annotations

import importlib.util
import stat
import sys
from pathlib import Path

import pytest

from devices.local import LocalTransport
from devices.session import Session

_HELPERS = Path(__file__).parents[1] / "runtimes"


def load_helper(name):
    """Import a file of tests/runtimes: under importlib mode, tests are on no import path."""
    spec = importlib.util.spec_from_file_location(name, _HELPERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tiny_models = load_helper("models")
environments = load_helper("environments")


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
