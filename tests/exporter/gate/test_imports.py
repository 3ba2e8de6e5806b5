from __future__ import annotations

import subprocess
import sys

import pytest

import exporter.gate

HEAVY = ("torch", "tensorflow", "onnx", "onnxruntime", "matplotlib", "jinja2", "numpy")


@pytest.mark.parametrize(
    "module",
    [
        "exporter.gate",
        "exporter.gate.table",
        "exporter.gate.junit",
        "exporter.gate.sarif",
        "exporter.gate.github",
        "exporter.gate.markdown",
        "exporter.history",
    ],
)
def test_the_gate_imports_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names():
    assert exporter.gate.__all__ == [
        "Baseline",
        "Budget",
        "Line",
        "Verdict",
        "check",
        "load_baseline",
        "load_budget",
    ]
