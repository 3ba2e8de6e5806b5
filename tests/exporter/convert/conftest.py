"""Makes the helpers beside this file importable, and lets most comparisons run in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

IN_PROCESSES = {"test_hostile", "test_networks", "test_pair_rule"}
"""Files whose comparisons run as a user's do, in a fresh process for each form of the model."""


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    """Run the forms of a model without a process for each: the same code, a second faster each."""
    if request.module.__name__ in IN_PROCESSES:
        return
    from devices.runners import PythonAgent
    from runtimes.__main__ import handle
    from runtimes.report import decode

    def ask(agent, action, fields, report, launch):
        _, found = handle(json.dumps({"action": action, **fields}).encode())
        return decode(report, found)

    monkeypatch.setattr(PythonAgent, "_ask", ask)
