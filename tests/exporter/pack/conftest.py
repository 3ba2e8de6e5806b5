from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

# pytest imports tests by path (--import-mode=importlib), so a shared module is loaded by path too.
NAME = "pack_models"
if NAME not in sys.modules:
    path = Path(__file__).with_name(f"{NAME}.py")
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


@pytest.fixture(scope="session")
def models():
    """The module that writes small int8 models."""
    return sys.modules[NAME]


@pytest.fixture(scope="session")
def sparse_layers(models):
    """The layers of a small residual network of which 90 % was pruned."""
    return models.make_layers(0.9)


@pytest.fixture(scope="session")
def mobile_layers(models):
    """A few depthwise and pointwise layers, pruned."""
    return models.make_layers(0.9, depthwise=True, widths=(16, 32, 64))
