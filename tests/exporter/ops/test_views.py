"""exporter/tflite/views.py: chains of reshapes and transposes, against numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from single import DRAWN

from exporter.graph.layout import NHWC_OF_NCHW
from exporter.tflite.views import Chain

sizes = st.integers(1, 6)


def primes(number):
    for prime in (2, 3, 5):
        if number % prime == 0:
            return [prime, *primes(number // prime)]
    return []


@st.composite
def chains(draw):
    """A source's shape, and steps: ("transpose", order) or ("reshape", shape).

    A reshape cuts along the prime factors of the axes as they are, so that it may merge and split.
    """
    shape = [draw(sizes) for _ in range(draw(st.sampled_from([2, 3, 4])))]
    source, steps = tuple(shape), []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(shape))))
            shape = [shape[axis] for axis in order]
            steps.append(("transpose", order))
            continue
        atoms = list(itertools.chain.from_iterable(primes(size) for size in shape))
        inside = st.sets(st.integers(0, len(atoms)), max_size=4)
        cuts = [0, *sorted(draw(inside)), len(atoms)]
        shape = [math.prod(atoms[a:b]) for a, b in itertools.pairwise(cuts)]
        steps.append(("reshape", shape))
    return source, steps


def stored(array, image):
    return array.transpose(NHWC_OF_NCHW) if image else array


@given(drawn=chains(), images=st.tuples(st.booleans(), st.booleans()))
@DRAWN
def test_a_chain_is_one_permutation(drawn, images):
    shape, steps = drawn
    first = images[0] and len(shape) == 4
    chain, array = Chain(shape, image=first), np.arange(math.prod(shape)).reshape(shape)
    source = stored(array, first)
    for kind, argument in steps:
        if kind == "transpose":
            chain.transpose(argument)
            array = array.transpose(argument)
            continue
        array = array.reshape(argument)
        if not chain.reshape(argument):
            return
    last = images[1] and array.ndim == 4
    composite = chain.composite(image=last)
    moved = source.reshape(composite.before) if composite.order else source
    if composite.order:
        moved = moved.transpose(composite.order)
    np.testing.assert_array_equal(moved.reshape(composite.after), stored(array, last))
    assert sorted(composite.order) == list(range(len(composite.order)))
    # No axis is one, and none stays beside its neighbour: the permutation is as short as can be.
    assert all(size > 1 for size in composite.before)
    assert all(b != a + 1 for a, b in itertools.pairwise(composite.order))


@given(shape=st.lists(sizes, min_size=1, max_size=4), data=st.data())
@DRAWN
def test_there_and_back_is_nothing(shape, data):
    order = data.draw(st.permutations(range(len(shape))))
    chain = Chain(shape, image=False)
    chain.transpose(order)
    chain.transpose([int(axis) for axis in np.argsort(order)])
    composite = chain.composite(image=False)
    assert composite.order == ()
    assert composite.after == tuple(shape)


@given(shape=st.tuples(sizes, sizes, sizes, sizes), steps=st.integers(0, 1))
@DRAWN
def test_an_image_as_it_is_moves_nothing(shape, steps):
    chain = Chain(shape, image=True)
    if steps:
        chain.reshape(shape)
    assert chain.composite(image=True).order == ()


def test_an_axis_that_a_cut_does_not_fit_is_told():
    chain = Chain((4, 9), image=False)
    assert not chain.reshape((6, 6))


def test_values_that_are_left_over_are_told():
    assert not Chain((4, 9), image=False).reshape((4, 3))
    assert not Chain((4, 3), image=False).reshape((4, 9))


def test_a_cut_through_a_moved_axis_keeps_the_order_of_its_parts():
    chain = Chain((6, 5), image=False)
    chain.transpose((1, 0))
    assert chain.reshape((5, 2, 3))
    chain.transpose((2, 0, 1))
    composite = chain.composite(image=False)
    array = np.arange(30).reshape(6, 5)
    expected = array.T.reshape(5, 2, 3).transpose(2, 0, 1)
    found = array.reshape(composite.before).transpose(composite.order).reshape(composite.after)
    np.testing.assert_array_equal(found, expected)
