"""exporter/tflite/ops/table.py: a table of 256 entries where TFLite has no operator."""

from __future__ import annotations

import numpy as np
import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function

TABLES = {
    "Celu": function("Celu", alpha=0.7),
    "Erf": function("Erf"),
    "Mish": function("Mish"),
    "Selu": function("Selu"),
    "Selu of other factors": function("Selu", alpha=1.2, gamma=0.9),
    "Softplus": function("Softplus"),
    "Softsign": function("Softsign"),
}


@pytest.mark.parametrize("shape", [(1, 256), (1, 4, 8, 8)])
@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
@single.DRAWN
def test_every_integer(name, shape, data):
    scale, zero_point = data.draw(st.floats(0.004, 0.06)), data.draw(single.zero_points)
    source = Value(shape, scale, zero_point)
    case = single.pointwise(TABLES[name], source)
    outcome = single.assert_exact(case, source.every(), left=("all",))
    assert len(np.unique(outcome.tflite[0])) > 20


@pytest.mark.parametrize("name", TABLES)
def test_a_function_becomes_one_lookup(name):
    source = Value((1, 256), 0.05)
    assert single.codes(Case.of(TABLES[name], source, source)) == ["CAST", "ADD", "GATHER"]
