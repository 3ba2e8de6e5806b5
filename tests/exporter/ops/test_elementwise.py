"""exporter/tflite/ops/elementwise.py: arithmetic on two values, or on one and a constant."""

from __future__ import annotations

import numpy as np
import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import EXACT_PARTS, Case, Value, function

RANKS = st.lists(st.integers(1, 6), min_size=1, max_size=3)
parts = st.integers(40, 1500)
"""How many of 511 parts of the output's step an operand's step has: ratios from 0.08 to 2.9."""


@st.composite
def shapes(draw):
    """Two shapes that broadcast: equal, or one of them short along some axes."""
    whole = [1, *draw(RANKS)]
    short = [1 if draw(st.booleans()) else size for size in whole]
    pair = (tuple(whole), tuple(short))
    return pair if draw(st.booleans()) else pair[::-1]


def operand(shape, part, step, zero_point):
    return Value(shape, part * step / EXACT_PARTS, zero_point)


def result(pair, step, zero_point):
    return Value(np.broadcast_shapes(*pair), step, zero_point)


def sums(kind, *, activation=""):
    def body(net, x, y):
        z = net.node(kind, [x, y])
        if activation == "Relu":
            return net.node("Relu", [z])
        return z

    return body


@pytest.mark.parametrize("kind", ["Add", "Sub"])
@given(
    pair=shapes(),
    p=parts,
    q=parts,
    step=single.steps,
    points=st.tuples(*[single.zero_points] * 3),
    relu=st.booleans(),
    seed=single.seeds,
)
@single.DRAWN
def test_sums_in_odd_parts_are_exact(kind, pair, p, q, step, points, relu, seed):
    left, right = operand(pair[0], p, step, points[0]), operand(pair[1], q, step, points[1])
    output = result(pair, step, -128 if relu else points[2])
    case = Case.of(sums(kind, activation="Relu" if relu else ""), (left, right), output)
    single.assert_exact(case, left.sample(seed), right.sample(seed + 1))
    single.assert_real(case, left.sample(seed), right.sample(seed + 1))


@given(
    pair=shapes(),
    steps=st.tuples(single.steps, single.steps),
    numerator=st.integers(1, 8),
    odd=st.integers(255, 1023),
    points=st.tuples(*[single.zero_points] * 3),
    seed=single.seeds,
)
@single.DRAWN
def test_products_in_odd_parts_are_exact(pair, steps, numerator, odd, points, seed):
    left, right = (Value(s, step, z) for s, step, z in zip(pair, steps, points, strict=False))
    step = float(np.float32(left.scale)) * float(np.float32(right.scale)) * (2 * odd + 1)
    output = result(pair, step / numerator, points[2])
    case = Case.of(function("Mul"), (left, right), output)
    single.assert_exact(case, left.sample(seed), right.sample(seed + 1))
    single.assert_real(case, left.sample(seed), right.sample(seed + 1))


@pytest.mark.parametrize("kind", ["Max", "Min"])
@given(pair=shapes(), step=single.steps, zero_point=single.zero_points, seed=single.seeds)
@single.DRAWN
def test_the_larger_and_smaller_of_two(kind, pair, step, zero_point, seed):
    left, right = (Value(shape, step, zero_point) for shape in pair)
    case = Case.of(function(kind), (left, right), result(pair, step, zero_point))
    single.assert_exact(case, left.sample(seed), right.sample(seed + 1), left=("all",))
    single.assert_real(case, left.sample(seed), right.sample(seed + 1))


@given(pair=shapes(), zero_point=single.zero_points, seed=single.seeds)
@single.DRAWN
def test_quotients(pair, zero_point, seed):
    left, right = Value(pair[0], 0.03, zero_point), Value(pair[1], 0.05, -128)
    dividend, divisor = left.sample(seed), np.maximum(right.sample(seed + 1), -100)
    real = left.real(dividend) / right.real(divisor)
    output = single.away_from_ties(real, single.fitting(real, np.broadcast_shapes(*pair)))
    case = Case.of(function("Div"), (left, right), output)
    single.assert_exact(case, dividend, divisor)
    single.assert_real(case, dividend, divisor)


CONSTANTS = {
    "x + c": lambda net, x, c: net.node("Add", [x, c]),
    "c + x": lambda net, x, c: net.node("Add", [c, x]),
    "x * c": lambda net, x, c: net.node("Mul", [x, c]),
    "x - c": lambda net, x, c: net.node("Sub", [x, c]),
    "c - x": lambda net, x, c: net.node("Sub", [c, x]),
    "x / c": lambda net, x, c: net.node("Div", [x, c]),
}


@pytest.mark.parametrize("shape", [(1, 256), (1, 4, 8, 8)])
@pytest.mark.parametrize("name", CONSTANTS)
@given(data=st.data())
@single.DRAWN
def test_every_integer_with_a_float_constant(name, shape, data):
    source = Value(shape, data.draw(single.steps), data.draw(single.zero_points))
    number = data.draw(st.floats(0.1, 3.0) | st.floats(-3.0, -0.1))

    def body(net, x):
        return CONSTANTS[name](net, x, net.constant(np.float32(number)))

    case = single.pointwise(body, source)
    single.assert_exact(case, source.every())
    single.assert_real(case, source.every())


@pytest.mark.parametrize("kind", ["Add", "Mul"])
@given(channels=st.integers(1, 5), step=single.steps, p=parts, q=parts, seed=single.seeds)
@single.DRAWN
def test_an_integer_constant_for_each_channel(kind, channels, step, p, q, seed):
    random = np.random.default_rng(seed)
    constant = random.integers(-128, 128, (channels, 1, 1)).astype(np.int8)
    source = operand((1, channels, 4, 5), p, step, 11)
    scale = q * step / EXACT_PARTS
    output = Value(source.shape, step, 0)
    if kind == "Mul":
        output = Value(source.shape, float(np.float32(source.scale)) * np.float32(scale) * 511, 0)

    def body(net, x):
        return net.node(kind, [x, net.quantized_constant(constant, scale, -7)])

    case = Case.of(body, source, output)
    single.assert_exact(case, source.sample(seed))
    single.assert_real(case, source.sample(seed))


def test_the_larger_of_three_is_refused():
    source = Value((1, 6), 0.05)
    case = Case.of(function("Max"), (source, source, source), source)
    message = single.refusal(case)
    assert "it has not two operands" in message
    assert "compare two at a time" in message
