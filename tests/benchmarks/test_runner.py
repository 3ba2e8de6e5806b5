from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import environments, routes
from benchmarks.process import CommandError
from benchmarks.routes import reason_of
from benchmarks.runner import fidelity

GENERATOR = np.random.default_rng(0)


def test_outputs_in_another_order_and_with_channels_last_are_the_same_outputs():
    real = (GENERATOR.normal(size=(2, 3, 4, 5)), GENERATOR.normal(size=(2, 7)))
    found = [real[1].copy(), real[0].transpose(0, 2, 3, 1).copy()]
    sqnr_db, agreement = fidelity(real, found)
    assert sqnr_db > 200
    assert agreement is None


def test_noise_of_a_tenth_is_twenty_decibels_and_classes_are_counted():
    real = np.array([[0.0, 1.0], [1.0, 0.0]])
    sqnr_db, _ = fidelity((real,), [1.1 * real])
    assert sqnr_db == pytest.approx(20.0)
    assert fidelity((real,), [real[:, ::-1]])[1] == 0.0
    assert fidelity((real,), [np.array([[0.0, 1.0], [0.0, 1.0]])])[1] == 0.5


def test_the_reason_of_a_failure_is_the_last_line_that_names_an_error():
    error = CommandError(
        "it failed", found="Traceback\nValueError: no kernel for X\n  at the end\n"
    )
    assert reason_of(error) == "ValueError: no kernel for X"


@pytest.mark.parametrize(
    "name", ["ptq", "litert", "onnx2tf", "tensorflow", "tflite_runtime", "corpus"]
)
def test_every_peer_is_pinned(name):
    assert environments.versions_of(name)


def test_an_environment_without_its_python_is_skipped_with_a_word(tmp_path, monkeypatch, capsys):
    (tmp_path / "old.txt").write_text("# python: 2.99\nx==1\n", encoding="utf-8")
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    environments.python_of.cache_clear()
    assert environments.python_of("old") is None
    assert "python2.99" in capsys.readouterr().err


def test_a_route_that_ends_well_without_its_file_has_failed(tmp_path):
    made = routes._run("a peer", [sys.executable, "-c", "pass"], ("x.tflite",), tmp_path)
    assert not made.files
    assert "x.tflite" in made.failure


def test_an_environment_whose_making_was_interrupted_is_made_anew(tmp_path, monkeypatch):
    (tmp_path / "none.txt").write_text("", encoding="utf-8")
    half = tmp_path / "none" / "bin"
    half.mkdir(parents=True)
    (half / "python").symlink_to(sys.executable)
    (tmp_path / "none" / "left").touch()
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    environments.python_of.cache_clear()
    assert environments.python_of("none") == half / "python"
    assert not (tmp_path / "none" / "left").exists()
    assert (tmp_path / "none" / ".ready").exists()
