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
def layers():
    """Six layers, as a pruned network has them."""
    return six_layers()


@pytest.fixture
def verdict(build):
    """A verdict with a line that is kept and one that is not."""
    return verdict_on(build)


@pytest.fixture(scope="session")
def whole_page(tmp_path_factory):
    """The page of a finished build with everything in it, written once: drawing takes a second."""
    from exporter.report import write_report

    build = sys.modules[NAME].write_build(tmp_path_factory.mktemp("whole") / "build")
    page = write_report(build, verdict=verdict_on(build), layers=six_layers())
    return page.read_text(encoding="utf-8")


def six_layers():
    from exporter.report import LayerRow

    return [
        LayerRow(
            f"features.{i}.conv",
            "CONV_2D",
            288 * 4**i,
            200 * 4**i,
            17 - i,
            288 * 4**i,
            1.2,
            histogram=((-3, 44 * 4**i), (0, 200 * 4**i), (2, 44 * 4**i)),
        )
        for i in range(6)
    ]


def verdict_on(build):
    from exporter.gate import check, load_budget

    path = build.parent / "budget.toml"
    path.write_text('[limits."*.int8.tflite"]\nfile_bytes = 84215\naccuracy = "97 %"\n')
    return check(build, load_budget(path))
