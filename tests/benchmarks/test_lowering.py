"""Lowering is measured on files that the runtimes load, and a network that is missing is told."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import lowering

DEMO = lowering.NETWORKS[0]


def test_every_network_is_measured_or_told(tmp_path, monkeypatch, capsys):
    missing = lowering.Network("none", DEMO.folder, "digits:no_such_network", (1, 1, 8, 8), 1.0)
    monkeypatch.setattr(lowering, "NETWORKS", (DEMO, missing))

    rows = lowering.measure(tmp_path, rounds=2)

    assert [row["network"] for row in rows] == [DEMO.name]
    assert 0 < rows[0]["cpu_s"] <= rows[0]["worst_cpu_s"]
    assert "SKIPPED none: digits:no_such_network" in capsys.readouterr().err


def test_what_is_lowered_runs(tmp_path):
    from exporter.graph.read import read_file
    from exporter.tflite import lower_file
    from runtimes.backend import open_model

    lowering.write_canonical(lowering.factory_of(DEMO)(), DEMO.shape, tmp_path / "n.qdq.onnx")
    lower_file(tmp_path / "n.qdq.onnx", tmp_path / "n.tflite")

    backend = open_model(tmp_path / "n.tflite")
    backend.set_inputs([np.zeros((1, 28, 28, 1), np.uint8)])
    backend.invoke()
    (output,) = backend.get_outputs()
    backend.close()
    assert output.shape == (1, 10)
    assert output.dtype == np.int8
    assert len(read_file(tmp_path / "n.qdq.onnx").operators) > 10


@pytest.mark.parametrize("network", lowering.NETWORKS, ids=lambda network: network.name)
def test_every_network_of_the_benchmark_is_in_the_examples(network):
    module = network.factory.partition(":")[0]
    if module == "examples.models" and not (lowering.ROOT / "examples" / "models").is_dir():
        pytest.skip(f"examples/models is not here yet: it will bring {network.name}")
    assert lowering.factory_of(network) is not None
