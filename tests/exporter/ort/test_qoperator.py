"""The QOperator form: integer operators with the QDQ form's integers, in a default session."""

from __future__ import annotations

from collections import Counter

import networks
import numpy as np
import onnx_ir as ir
import pytest

from exporter.ort import qdq, qoperator

FRAMES = networks.frames(40, seed=3).numpy()


@pytest.mark.parametrize("unsigned", [True, False], ids=["uint8", "int8"])
def test_both_forms_give_the_same_integers(made, tmp_path, unsigned):
    canonical = ir.load(made.qdq)
    ir.save(qoperator.lower(canonical, unsigned=unsigned), tmp_path / "q.onnx")
    ir.save(qdq.lower(canonical, unsigned=unsigned), tmp_path / "qdq.onnx")
    found = networks.run_onnx(tmp_path / "q.onnx", FRAMES)
    wanted = networks.run_onnx(tmp_path / "qdq.onnx", FRAMES)
    assert found.dtype == (np.uint8 if unsigned else np.int8)
    assert len(np.unique(found)) > 20
    assert np.array_equal(found, wanted)


def test_convolutions_dense_layers_and_additions_are_integer_operators(made):
    model = qoperator.lower(ir.load(made.qdq))
    counts = Counter(node.op_type for node in model.graph)
    assert counts["QLinearConv"] == sum(o.kind == "Conv" for o in made.graph.operators)
    assert counts["QGemm"] == sum(o.kind == "Gemm" for o in made.graph.operators)
    assert counts["QLinearAdd"] == sum(o.kind == "Add" for o in made.graph.operators)
    assert not {"Conv", "Gemm", "Add"} & set(counts)


def test_the_canonical_graph_stays_as_it_was(made):
    canonical = ir.load(made.qdq)
    before = [node.op_type for node in canonical.graph]
    qoperator.lower(canonical)
    assert [node.op_type for node in canonical.graph] == before
