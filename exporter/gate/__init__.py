"""The release gate: a budget, a build directory, and yes or no with reasons.

    budget.py      TOML to frozen models; places.py knows their lines, units.py "90 kB" and back
    evidence.py    what a build directory proves; readings.py one value of it, or why there is none
    measures.py    each limit against an artifact: hold.py numbers, operators.py, smoke.py
    baseline.py    the release before; growth.py and slowdown.py hold a build against it
    account.py     which layers weigh most, and which grew
    turns.py       two builds measured in turns; statistics.py says what that shows
    check.py       all of a budget against all of a build
    verdict.py     the answer; table.py, junit.py, sarif.py, github.py, markdown.py show it

It is light on purpose: a release pipeline installs edgewright without extras.
"""

from __future__ import annotations

from exporter.gate.baseline import Baseline, load_baseline
from exporter.gate.budget import Budget, load_budget
from exporter.gate.check import check
from exporter.gate.verdict import Line, Verdict

__all__ = [
    "Baseline",
    "Budget",
    "Line",
    "Verdict",
    "check",
    "load_baseline",
    "load_budget",
]
