"""Makes the helpers beside this file importable, whatever the working directory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The test network as files, built once."""
    import networks

    return networks.make(networks.network(), tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def tiny_build(tmp_path_factory):
    """The small recipe, built by the command line: its folder, and what was printed."""
    import tiny

    folder = tmp_path_factory.mktemp("pipeline")
    tiny.write_recipe(folder)
    done = tiny.edgewright("run", "recipe.toml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout
