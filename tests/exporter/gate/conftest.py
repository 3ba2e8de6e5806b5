from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

# pytest imports tests by path (--import-mode=importlib), so a shared module is loaded by path too.
NAME = "exporter_test_builds"
if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parents[1] / "builds.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


@pytest.fixture
def builds():
    """The module that writes fake build directories."""
    return sys.modules[NAME]


@pytest.fixture
def build(tmp_path, builds):
    """A finished build directory."""
    return builds.write_build(tmp_path / "build")


@pytest.fixture
def budget_of(tmp_path):
    """Reads a budget out of a text."""
    from exporter.gate import load_budget

    def read(text: str):
        path = tmp_path / "budget.toml"
        path.write_text(text, encoding="utf-8")
        return load_budget(path)

    return read
