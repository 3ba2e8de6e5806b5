"""What tests of several packages share."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# A shell starts background jobs with Ctrl-C ignored, and so would be every program of the tests.
_in_main = threading.current_thread() is threading.main_thread()
if _in_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
