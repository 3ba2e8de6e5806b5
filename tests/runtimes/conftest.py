from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_helper(name):
    """Import a file beside this one: under importlib mode, tests are on no import path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
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


@pytest.fixture(scope="session")
def other_python():
    return environments.other_python


@pytest.fixture(scope="session")
def environment():
    return environments.environment


@pytest.fixture
def agent():
    """Runs `python -m runtimes` and gives its exit code and what it answered."""

    def run(request, *, python=sys.executable, environment=None):
        text = request if isinstance(request, str) else json.dumps(request)
        done = subprocess.run(
            [python, "-m", "runtimes"],
            input=text,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=120,
            check=False,
        )
        return done.returncode, json.loads(done.stdout), done.stderr

    return run
