"""The agent is held against a C program where there is one, and says so where there is none."""

from __future__ import annotations

import pytest

from benchmarks import agent
from benchmarks.lowering import NETWORKS


@pytest.fixture
def one_network(monkeypatch):
    monkeypatch.setattr(agent, "MEASURED", NETWORKS[:1])


def test_without_the_c_program_the_agents_own_figures_stay(
    one_network, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))

    rows = agent.measure(tmp_path, seconds=0.01, rounds=2)

    assert [row.get("file") for row in rows] == ["resnet8.int8.onnx", "resnet8.int8.tflite", None]
    assert all(row["latency_ms_p50"] > 0 for row in rows)
    assert all(row["variation"] >= 0 and row["latency_ratio"] is None for row in rows[:2])
    assert "SKIPPED the C program" in capsys.readouterr().err


def test_the_ratio_and_the_overhead_are_of_the_medians(monkeypatch, tmp_path):
    class Fixed:
        def __init__(self, *times_ms):
            self.times_ms = list(times_ms)

        def bench(self, path, *, seconds):
            row = type("Row", (), {"p50_ms": self.times_ms.pop(0)})
            return type("Benched", (), {"row": row})

    found = agent._row(
        "n", tmp_path / "f.onnx", Fixed(1.02, 1.04, 1.03), Fixed(1.0, 1.0, 1.0), 1.0, 3
    )

    assert found["latency_ratio"] == pytest.approx(1.03)
    assert found["overhead_ms"] == pytest.approx(0.03)
    assert found["variation"] == pytest.approx(0.01 / 1.03)
    assert found["within_limits"]
