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


def test_a_check_imports_no_output_that_it_is_not_asked_for(build, tmp_path):
    budget = tmp_path / "budget.toml"
    budget.write_text('[limits."*.int8.tflite"]\nfile_bytes = "1 MB"\n')
    argv = [sys.executable, "-X", "importtime", "-m", "exporter.cli", "check"]
    argv += [str(build), "--budget", str(budget)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "exporter.gate.table" in loaded
    assert not {f"exporter.gate.{name}" for name in ("junit", "sarif", "github")} & loaded
    assert not {"xml.etree.ElementTree", *HEAVY} & loaded


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


def test_a_light_install_says_which_install_a_command_needs(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(24))
    code = (
        "import sys; sys.modules['onnx_ir'] = None; from exporter.cli import main; "
        "sys.argv[1:] = ['inspect', 'model.tflite']; main()"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "this command needs the package 'onnx_ir'" in done.stderr
    assert "in edgewright's clone: pip install -c constraints.txt '.[export]'" in done.stderr
