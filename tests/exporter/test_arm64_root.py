"""The arm64 root: made once for a recipe, whole or not at all, and entered as a Raspberry Pi is."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from exporter.errors import EmulationError
from exporter.verify import arm64_root, boards
from exporter.verify.arm64_root import File, Recipe, Target, make_root

PROBE = """
import importlib.metadata, json, os, platform, sys
print(json.dumps({
    "machine": platform.machine(),
    "python": platform.python_version(),
    "numpy": importlib.metadata.version("numpy"),
    "part": open("/proc/cpuinfo").read().partition("CPU part")[2].split()[1],
    "cpus": open("/sys/devices/system/cpu/possible").read().strip(),
    "seen": os.path.exists("/mnt/note") and open("/mnt/note").read(),
}))
"""


@pytest.fixture
def filled(monkeypatch):
    """Takes the place of bootstrapping; counts how often it is called."""
    calls = []

    def fill(root, recipe):
        calls.append(recipe)
        (root / "made").write_text(recipe.key)
        if recipe.packages == ("broken",):
            raise EmulationError("no such package")

    monkeypatch.setattr(arm64_root, "_fill", fill)
    return calls


def test_a_root_is_made_once_for_a_recipe(filled, tmp_path):
    first = make_root(tmp_path, Recipe())
    assert make_root(tmp_path, Recipe()) == first
    assert (first / "made").read_text() == Recipe().key
    assert len(filled) == 1


@pytest.mark.parametrize(
    "other",
    [
        Recipe(packages=("bash",)),
        Recipe(targets=(Target("opt/a", ("numpy<2",)),)),
        Recipe(files=(File("etc/hosts", ""),)),
    ],
)
def test_another_recipe_is_another_root(filled, tmp_path, other):
    assert make_root(tmp_path, other) != make_root(tmp_path, Recipe())
    assert len(filled) == 2


def test_a_root_that_fails_leaves_nothing(filled, tmp_path):
    with pytest.raises(EmulationError, match="no such package"):
        make_root(tmp_path, Recipe(packages=("broken",)))
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_missing_tool_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulationError, match=r"(?s)mmdebstrap is missing.*apt-get install"):
        make_root(tmp_path / "cache", Recipe())


def test_a_failing_tool_is_quoted(monkeypatch, tmp_path):
    tool = tmp_path / "mmdebstrap"
    tool.write_text("#!/bin/sh\necho 'E: no keyring' >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setattr(arm64_root, "find_tool", lambda name, package: str(tool))
    with pytest.raises(EmulationError, match="E: no keyring"):
        make_root(tmp_path / "cache", Recipe())


def test_a_folder_that_is_no_root_is_refused(tmp_path):
    with pytest.raises(EmulationError, match="is no arm64 root"):
        arm64_root.check_root(tmp_path)


@pytest.mark.parametrize("board", [boards.PI_3, boards.PI_4, boards.PI_5], ids=lambda b: b.cpu)
def test_every_core_of_a_board_tells_its_part(board):
    parts = re.findall(r"^CPU part\t: (0x[0-9a-f]{3})$", board.cpuinfo(), re.MULTILINE)
    assert [int(part, 16) for part in parts] == [board.part] * boards.CORES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "numpy_major"), [("opt/runtimes", "2"), ("opt/tflite-runtime", "1")]
)
def test_inside_it_is_a_raspberry_pi(arm64_root, enter_root, tmp_path, folder, numpy_major):
    (tmp_path / "note").write_text("from outside")
    argv = enter_root(arm64_root, [f"/{folder}/python", "-c", PROBE], binds={tmp_path: "/mnt"})
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["numpy"].split(".")[0] == numpy_major
    assert found["machine"] == "aarch64"
    assert found["python"].startswith("3.11.")
    assert int(found["part"], 16) == boards.PI_4.part
    assert found["cpus"] == "0-3"
    assert found["seen"] == "from outside"
