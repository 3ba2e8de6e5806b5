"""exporter/tflite/ops/boundary.py: where numbers change their kind."""

from __future__ import annotations

import numpy as np
import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from single import Case, Value

SHAPE = (1, 256)


def values(shape=SHAPE):
    return st.builds(Value, st.just(shape), single.steps, single.zero_points)


def every_output(outcome):
    return [part[0] for part in (outcome.reference, outcome.tflite, *outcome.onnx.values())]


def cast(to):
    return lambda net, x: net.node("Cast", [x], to=to)


other_scales = st.floats(0.3, 0.99) | st.floats(1.01, 3.0)
"""Ratios of two steps that leave no two equal: integers of one step are only shifted."""


@given(source=values(), ratio=other_scales, zero_point=single.zero_points)
@single.DRAWN
def test_every_integer_at_another_scale(source, ratio, zero_point):
    wanted = Value(SHAPE, source.scale * ratio, zero_point)
    result = single.away_from_ties(source.real(source.every()), wanted)
    case = Case.of(lambda net, x: x, source, result)
    single.assert_exact(case, source.every())
    assert single.codes(case) == ["DEQUANTIZE", "QUANTIZE"]


@given(source=values(), zero_point=single.zero_points)
@single.DRAWN
def test_every_integer_with_another_zero_point(source, zero_point):
    result = Value(SHAPE, source.scale, zero_point)
    case = Case.of(lambda net, x: x, source, result)
    moved = zero_point != source.zero_point
    if moved:
        single.assert_exact(case, source.every())
        assert single.codes(case) == ["QUANTIZE"]


@given(source=values())
@single.DRAWN
def test_every_integer_as_a_real_number(source):
    case = Case.of(lambda net, x: net.node("Identity", [x]), source, None)
    outcome = single.run(case, [source.every()])
    expected = source.real(source.every()).astype(np.float32)
    for found in every_output(outcome):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert single.codes(case) == ["DEQUANTIZE"]


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64])
@given(source=values())
@single.DRAWN
def test_every_integer_cut_off_to_a_whole_number(to, source):
    case = Case.of(cast(to), source, None)
    outcome = single.run(case, [source.every()])
    real = source.real(source.every())
    # A product that is whole in float64 can lie just below in float32: such integers are left out.
    clear = np.abs(real - np.rint(real)) > 1e-4
    assert clear.any()
    for found in every_output(outcome):
        np.testing.assert_array_equal(found[clear], np.trunc(real[clear]))


def test_positions_become_real_numbers():
    source = Value((1, 9), 0.05)

    def body(net, x):
        return net.node("Cast", [net.node("ArgMax", [x], axis=1)], to=TensorProto.FLOAT)

    single.assert_real(Case.of(body, source, None), source.sample(3))


def test_a_cast_to_double_is_refused():
    source = Value(SHAPE, 0.05)
    case = Case.of(cast(TensorProto.DOUBLE), source, None)
    message = single.refusal(case, quantized=False)
    assert "it casts float32 to float64" in message
    assert "cast outside of the model" in message
