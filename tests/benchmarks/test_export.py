"""The table of exports: one answer, the canonical graph's, from both files of a network."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import export


@pytest.mark.slow
def test_a_network_has_a_row(tmp_path):
    from examples.models import ZOO

    row = export.measure("ds_cnn", ZOO["ds_cnn"], tmp_path, small=True)
    assert (row["differing"], row["agreement"], row["structure"]) == (0, 1.0, True)
    assert row["values"] == 16 * 12
    assert row["float_islands"] == 0
    assert row["failed"] == ""


def test_what_differs_is_counted_over_all_outputs():
    one = [np.array([[1, 2], [3, 4]]), np.array([[5]])]
    other = [np.array([[1, 2], [3, 7]]), np.array([[4]])]
    assert export.compare(one, other) == (5, 2, 3)
    assert export.compare(one, one) == (5, 0, 0)


def test_the_least_agreement_of_all_outputs_counts(monkeypatch):
    from types import SimpleNamespace

    from exporter.graph import integer

    graph = SimpleNamespace(outputs=["a", "b"])
    expected = {"a": np.array([[1, 9], [9, 1]]), "b": np.array([[0, 3, 1], [5, 3, 1]])}
    monkeypatch.setattr(integer, "run", lambda graph, inputs: expected)
    same = [expected["a"], expected["b"]]
    other = [expected["a"], np.array([[0, 3, 1], [1, 3, 5]])]
    assert export.agreement_of(graph, [same, same], None) == 1.0
    assert export.agreement_of(graph, [same, other], None) == 0.5
