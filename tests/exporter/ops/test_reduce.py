"""exporter/tflite/ops/reduce.py: means, sums and extremes over axes."""

from __future__ import annotations

import math

import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function

from exporter.errors import UnsupportedError
from exporter.tflite import lower


def reduced(kind, axes, keep):
    def body(net, x):
        return net.node(kind, [x, net.integers(axes)], keepdims=keep)

    return body


@st.composite
def vectors(draw):
    """A value of rank 3 and axes of it, some counted from the end."""
    shape = (1, draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    axes = draw(st.sampled_from([[1], [2], [-1], [-2], [1, 2], [-1, 1]]))
    return Value(shape, draw(single.steps), draw(single.zero_points)), axes


@st.composite
def images(draw):
    """An image, and axes that TFLite can reduce in its own order."""
    shape = (1, *(draw(st.integers(1, 7)) for _ in range(3)))
    axes = draw(st.sampled_from([[2, 3], [-1, -2], [1], [2], [3], [1, 2, 3], [1, 2], [-3, 3]]))
    return Value(shape, draw(single.steps), draw(single.zero_points)), axes


def count_of(source, axes):
    return math.prod(source.shape[axis] for axis in axes)


def exact_result(kind, source, axes, part):
    """A result's scale: s_in / (N * s_out) = 8 / odd, with N = 1 for a sum."""
    if kind in ("ReduceMax", "ReduceMin"):
        return source
    count = count_of(source, axes)
    divided = count if kind == "ReduceMean" else 1
    # A sum of N is about N times as wide, a mean as wide as its values or narrower.
    around = 4 * count
    odd = 2 * (around + part % around) + 1
    return Value((1, 1), source.scale * odd / (8 * divided), 5)


KINDS = ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
@given(drawn=vectors(), part=st.integers(0, 1000), seed=single.seeds)
@single.DRAWN
def test_over_axes_of_a_vector(kind, keep, drawn, part, seed):
    source, axes = drawn
    case = Case.of(reduced(kind, axes, keep), source, exact_result(kind, source, axes, part))
    single.assert_exact(case, source.sample(seed), left=None)
    single.assert_real(case, source.sample(seed))


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=images(), part=st.integers(0, 1000), seed=single.seeds)
@single.DRAWN
def test_over_axes_of_an_image(kind, drawn, part, seed):
    source, axes = drawn
    case = Case.of(reduced(kind, axes, 1), source, exact_result(kind, source, axes, part))
    single.assert_exact(case, source.sample(seed), left=None)
    single.assert_real(case, source.sample(seed))


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=images(), part=st.integers(0, 1000), seed=single.seeds)
@single.DRAWN
def test_an_image_that_loses_axes(kind, drawn, part, seed):
    source, axes = drawn
    case = Case.of(reduced(kind, axes, 0), source, exact_result(kind, source, axes, part))
    left = [axis for axis in range(4) if axis not in {a % 4 for a in axes}]
    if 1 in left and left != [0, 1]:
        message = single.refusal(case)
        assert "it drops an axis of an image and keeps its channels" in message
        assert "keep the dimensions" in message
        return
    single.assert_exact(case, source.sample(seed), left=None)


@pytest.mark.parametrize("kind", KINDS)
def test_axes_in_an_attribute(kind):
    graph = single.graph_of(Case.of(reduced(kind, [2], 1), Value((1, 3, 5), 0.05), None),
                            quantized=False)  # fmt: skip
    operator = graph.operators[0]
    operator.inputs, operator.attributes["axes"] = operator.inputs[:1], [2]
    source = Value((1, 3, 5), 0.05)
    real = source.real(source.sample(1)).astype("f4")
    found, _ = single.run_tflite(graph, [real])
    expected = single.run(Case.of(reduced(kind, [2], 1), source, None), [real], quantized=False)
    assert (found[0] == expected.tflite[0]).all()


def test_computed_axes_are_refused():
    case = Case.of(reduced("ReduceMean", [1], 1), Value((2, 3), 0.05), None)
    graph = single.graph_of(case, quantized=False)
    graph.tensors[graph.operators[0].inputs[1]].data = None
    with pytest.raises(UnsupportedError, match="its list of axes is computed"):
        lower(graph)


def test_every_axis_is_the_default():
    source = Value((2, 3), 0.05)
    case = Case.of(function("ReduceSum", keepdims=1), source, None)
    single.assert_real(case, source.every())
