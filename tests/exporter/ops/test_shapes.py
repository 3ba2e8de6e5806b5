"""exporter/graph/shapes.py: sizes that depend on the batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from single import DRAWN

from exporter.graph.shapes import size_for_one

names = st.sampled_from(["batch", "s77", "N", "unk__0"])
leaves = st.tuples(st.integers(1, 512)).map(lambda n: (str(n[0]), n[0])) | names.map(
    lambda name: (name, 1)
)


def combined(parts):
    (left, a), operator, (right, b) = parts
    value = {"+": a + b, "-": a - b, "*": a * b, "//": a // b if b else None}[operator]
    return f"({left} {operator} {right})", value


expressions = st.recursive(
    leaves,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//"]), inner)
        .filter(lambda parts: parts[1] != "//" or parts[2][1] != 0)
        .map(combined)
    ),
    max_leaves=8,
)


@given(drawn=expressions)
@DRAWN
def test_every_name_is_one(drawn):
    text, value = drawn
    assert size_for_one(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "64*", "f(1)", "a.b", "1.5", "'8'", "2**70", "1//0", "-batch", "[1]", "__import__('os')"],
)
def test_anything_else_is_no_size(text):
    assert size_for_one(text) is None


def test_an_endless_expression_is_no_size():
    assert size_for_one("(" * 5000 + "1" + ")" * 5000) is None
    assert size_for_one("+".join(["1"] * 100_000)) is None
