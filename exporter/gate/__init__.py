"""The release gate: a budget, a build directory, and yes or no with reasons.

    budget.py     TOML to frozen models
    units.py      "90 kB", "2 ms", "1.0 pt", and back
    evidence.py   what a build directory proves
    readings.py   one measured value of an artifact, or why there is none
    measures.py   each limit against an artifact
    check.py      all of a budget against all of a build
    verdict.py    the answer; table.py, junit.py, markdown.py show it

It is light on purpose: a release pipeline installs edgewright without extras.
"""

from __future__ import annotations

from exporter.gate.budget import Budget, load_budget
from exporter.gate.check import check
from exporter.gate.verdict import Line, Verdict

__all__ = ["Budget", "Line", "Verdict", "check", "load_budget"]
