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
