"""exporter/tflite/ops/shape.py: values seen in another shape or order."""

from __future__ import annotations

import itertools

import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function


@st.composite
def values(draw, ranks=(1, 2, 3)):
    shape = (1, *(draw(st.integers(1, 6)) for _ in range(draw(st.sampled_from(ranks)))))
    return Value(shape, draw(single.steps), draw(single.zero_points))


def check(case, seed):
    samples = [source.sample(seed) for source in case.inputs]
    single.assert_exact(case, *samples, left=None)
    single.assert_real(case, *samples)


def reshaped(shape):
    return lambda net, x: net.node("Reshape", [x, net.integers(shape)])


@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_axes_merged_and_cut(source, data, seed):
    """Any shape whose axes are products of whole factors of the source's."""
    factors = list(itertools.chain.from_iterable(_factors(n) for n in source.shape[1:]))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(factors) - 1, 1)), max_size=3)))
    shape = [_product(factors[a:b]) for a, b in itertools.pairwise([0, *cuts, len(factors)])]
    check(Case.of(reshaped([0, *shape]), source, source), seed)


def _factors(number):
    """Prime factors; one stays as it is."""
    for prime in (2, 3, 5):
        if number % prime == 0:
            return [prime, *_factors(number // prime)]
    return [] if number == 1 else [number]


def _product(factors):
    result = 1
    for factor in factors:
        result *= factor
    return result


@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_axes_in_another_order(source, data, seed):
    order = [0, *data.draw(st.permutations(range(1, len(source.shape))))]
    check(Case.of(function("Transpose", perm=order), source, source), seed)


def test_an_input_that_is_brought_to_nchw_is_nhwc():
    source = Value((1, 5, 2, 6), 0.05, 3)
    case = Case.of(function("Transpose", perm=[0, 3, 1, 2]), source, source)
    check(case, 0)
    assert "TRANSPOSE" not in single.codes(case, quantized=False)


@given(source=values(ranks=(3,)), axis=st.sampled_from([1, -3]), seed=single.seeds)
@single.DRAWN
def test_flattened_to_two_axes(source, axis, seed):
    check(Case.of(function("Flatten", axis=axis), source, source), seed)


@given(source=values(ranks=(3,)), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_axes_of_one_dropped_and_added(source, data, seed):
    axes = data.draw(st.sets(st.integers(1, 3), min_size=1, max_size=2))
    shape = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    narrow = Value(tuple(shape), source.scale, source.zero_point)

    def squeezed(net, x):
        return net.node("Squeeze", [x, net.integers(sorted(axes))])

    def there_and_back(net, x):
        dropped = net.requantize(squeezed(net, x), narrow)
        return net.node("Unsqueeze", [dropped, net.integers(sorted(axes))])

    check(Case.of(squeezed, narrow, narrow), seed)
    check(Case.of(there_and_back, narrow, narrow), seed)


@given(groups=st.integers(1, 4), inside=st.integers(1, 4), side=single.sides, seed=single.seeds)
@single.DRAWN
def test_a_channel_shuffle_has_one_transpose(groups, inside, side, seed):
    source = Value((1, groups * inside, side, side + 1), 0.05, 3)

    def body(net, x):
        shape = [0, groups, inside, side, side + 1]
        x = net.requantize(net.node("Reshape", [x, net.integers(shape)]), source)
        x = net.requantize(net.node("Transpose", [x], perm=[0, 2, 1, 3, 4]), source)
        shape = [0, groups * inside, side, side + 1]
        x = net.requantize(net.node("Reshape", [x, net.integers(shape)]), source)
        return net.node("MaxPool", [x], kernel_shape=[1, 1])  # makes it an image again

    case = Case.of(body, source, source)
    check(case, seed)
    assert single.codes(case).count("TRANSPOSE") <= 1
    if groups == 1 or inside == 1:
        assert "TRANSPOSE" not in single.codes(case)


@given(channels=st.integers(2, 5), side=st.integers(2, 5), seed=single.seeds)
@single.DRAWN
def test_an_image_to_tokens_moves_nothing(channels, side, seed):
    """[N, C, H, W] → [N, C, HW] → [N, HW, C] is the order that NHWC has."""
    source = Value((1, channels, side, side), 0.05, 3)

    def body(net, x):
        x = net.node("Reshape", [x, net.integers([0, channels, side * side])])
        return net.node("Transpose", [net.requantize(x, source)], perm=[0, 2, 1])

    case = Case.of(body, source, source)
    check(case, seed)
    assert single.codes(case) == ["RESHAPE"]


def test_axes_that_cannot_be_cut_are_refused():
    source = Value((1, 4, 3, 5), 0.05)

    def body(net, x):
        # 3 x 5 in NHWC cannot be seen as 6 x 10 of NCHW.
        return net.node("Reshape", [x, net.integers([0, 6, 10])])

    message = single.refusal(Case.of(body, source, source))
    assert "it cuts [1, 4, 3, 5] to [1, 6, 10]" in message
    assert "cut axes into whole factors" in message


def test_more_than_six_axes_are_refused():
    source = Value((1, 2, 3, 2, 3, 2, 3, 2), 0.05)
    case = Case.of(function("Transpose", perm=[0, 7, 6, 5, 4, 3, 2, 1]), source, source)
    message = single.refusal(case)
    assert "it permutes 7 axes" in message
    assert "permute at most 6 at once" in message
