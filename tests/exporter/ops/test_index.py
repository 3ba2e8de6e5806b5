"""exporter/tflite/ops/index.py: operators that give positions."""

from __future__ import annotations

import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function

sizes = st.integers(1, 20)
OF_POSITIONS = ("all",)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
@given(rows=sizes, width=sizes, seed=single.seeds, axis=st.sampled_from([-1, 1, 2]))
@single.DRAWN
def test_the_first_position_of_an_extreme(kind, keep, rows, width, seed, axis):
    source = Value((1, rows, width), 0.05, 3)
    case = Case.of(function(kind, axis=axis, keepdims=keep), source, None)
    # Few values, so that many are equal.
    few = source.sample(seed) // 32
    single.assert_exact(case, few, left=None)
    single.assert_real(case, few)


@pytest.mark.parametrize("keep", [0, 1])
@given(channels=sizes, height=single.sides, width=single.sides, seed=single.seeds)
@single.DRAWN
def test_the_class_of_each_pixel(keep, channels, height, width, seed):
    source = Value((1, channels, height, width), 0.05, 3)
    case = Case.of(function("ArgMax", axis=1, keepdims=keep), source, None)
    few = source.sample(seed) // 32
    single.assert_exact(case, few, left=None)
    single.assert_real(case, few)


@given(rows=sizes, width=sizes, count=sizes, seed=single.seeds, used=st.sampled_from("vpb"))
@single.DRAWN
def test_the_largest_values_and_their_positions(rows, width, count, seed, used):
    source = Value((1, rows, width), 0.05, 3)
    count = min(count, width)
    result = Value((1, rows, count), 0.05, 3)

    def body(net, x):
        values, positions = net.node("TopK", [x, net.integers([count])], outputs=2)
        return {"v": values, "p": positions, "b": (values, positions)}[used]

    case = Case.of(body, source, *{"v": [result], "p": [None], "b": [result, None]}[used])
    few = source.sample(seed) // 16
    single.assert_exact(case, few, left=None)
    single.assert_real(case, few)


def test_the_last_of_equal_values_is_refused():
    source = Value((1, 9), 0.05)
    message = single.refusal(Case.of(function("ArgMax", select_last_index=1, axis=1), source, None))
    assert "it takes the last of equal values" in message
    assert "take the first" in message


def test_a_position_among_rows_is_refused():
    source = Value((1, 3, 4, 5), 0.05)
    message = single.refusal(Case.of(function("ArgMax", axis=2), source, None))
    assert "it goes over rows or columns" in message
    assert "take it over channels" in message


@pytest.mark.parametrize("attributes", [{"axis": 1}, {"largest": 0}])
def test_the_smallest_or_another_axis_is_refused(attributes):
    source = Value((1, 6, 9), 0.05)

    def body(net, x):
        return net.node("TopK", [x, net.integers([2])], outputs=2, **attributes)[1]

    message = single.refusal(Case.of(body, source, None))
    assert "it is not for the largest of the last axis" in message
    assert "use x.topk(k)" in message


def test_a_computed_number_is_refused():
    source = Value((2, 9), 0.05)

    def body(net, x):
        count = net.node("ArgMax", [net.node("Reshape", [x, net.integers([18])])], axis=0)
        return net.node("TopK", [x, count], outputs=2)[1]

    assert "its k is computed" in single.refusal(Case.of(body, source, None), quantized=False)
