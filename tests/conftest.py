"""What tests of several packages share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def arm64_root():
    """The path of an arm64 Debian root: see arm64.py beside this file."""
    import arm64

    from exporter.errors import EmulationError
    from exporter.verify.arm64_root import make_root

    try:
        return make_root(arm64.CACHE, arm64.recipe())
    except EmulationError as error:
        pytest.skip(f"NOT TESTED: {' '.join(str(error).split())}")


@pytest.fixture(scope="session")
def enter_root():
    """`arm64.enter`, which needs the superuser."""
    import arm64

    arm64.skip_unless_entry_works()
    return arm64.enter
