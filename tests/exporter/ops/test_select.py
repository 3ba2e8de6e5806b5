"""exporter/tflite/ops/select.py: joining, cutting, repeating and padding."""

from __future__ import annotations

import numpy as np
import pytest
import single
from hypothesis import given
from hypothesis import strategies as st
from single import Case, Value, function

from exporter.errors import UnsupportedError
from exporter.tflite import lower

IMAGE_OR_NOT = st.sampled_from([1, 2, 3])
"""How many axes there are besides the batch: three make an image."""


@st.composite
def values(draw):
    """An activation of rank 2, 3 or 4."""
    rank = draw(IMAGE_OR_NOT)
    shape = (1, *(draw(st.integers(2, 7)) for _ in range(rank)))
    return Value(shape, draw(single.steps), draw(single.zero_points))


@st.composite
def parts(draw):
    """Two to four activations that join along an axis, and the axis, counted from either end."""
    first = draw(values())
    rank = len(first.shape)
    axis = draw(st.integers(1, rank - 1))
    shapes = [list(first.shape) for _ in range(draw(st.integers(2, 4)))]
    for shape in shapes:
        shape[axis] = draw(st.integers(1, 6))
    sources = [Value(tuple(shape), first.scale, first.zero_point) for shape in shapes]
    return sources, axis - rank * draw(st.integers(0, 1))


@given(drawn=parts(), seed=single.seeds)
@single.DRAWN
def test_joined_along_any_axis(drawn, seed):
    sources, axis = drawn
    case = Case.of(function("Concat", axis=axis), sources, sources[0])
    samples = [source.sample(seed + i) for i, source in enumerate(sources)]
    single.assert_exact(case, *samples, left=None)
    single.assert_real(case, *samples)


@given(source=values(), seed=single.seeds)
@single.DRAWN
def test_joined_with_a_constant(source, seed):
    constant = np.random.default_rng(seed).integers(-128, 128, (1, 3, *source.shape[2:]))

    def body(net, x):
        data = constant.astype(np.int8)
        other = net.quantized_constant(data, source.scale, source.zero_point)
        return net.node("Concat", [other, x], axis=1)

    case = Case.of(body, Value(source.shape, source.scale, source.zero_point), source)
    sample = source.sample(seed, 1)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


limits = st.integers(-8, 8)


@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_cut_along_any_axes(source, data, seed):
    rank = len(source.shape)
    axes = data.draw(st.lists(st.integers(1, rank - 1), min_size=1, max_size=3, unique=True))
    starts, ends, strides = [], [], []
    for axis in axes:
        size = source.shape[axis]
        start, length = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
        end = min(start + length, size)
        starts.append(start - size * data.draw(st.integers(0, 1)))
        ends.append(2**31 if end == size else end - size * data.draw(st.integers(0, 1)))
        strides.append(data.draw(st.integers(1, 3)))
    counted = [axis - rank * data.draw(st.integers(0, 1)) for axis in axes]

    def body(net, x):
        return net.node("Slice", [x, *map(net.integers, (starts, ends, counted, strides))])

    case = Case.of(body, source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


@given(source=values(), count=st.integers(1, 3), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_cut_into_parts(source, count, data, seed):
    axis = data.draw(st.integers(1, len(source.shape) - 1))
    sizes = [data.draw(st.integers(1, 4)) for _ in range(count)]
    shape = [*source.shape[:axis], sum(sizes), *source.shape[axis + 1 :]]
    source = Value(tuple(shape), source.scale, source.zero_point)

    def body(net, x):
        names = net.node("Split", [x, net.integers(sizes)], outputs=count, axis=axis)
        return tuple(names) if count > 1 else names

    case = Case.of(body, source, *[source] * count)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


def sliced(net, x, step=1):
    return [net.node("Slice", [x, *map(net.integers, ([1], [4], [1], [step]))])] * 2


CUTS = {
    "slice": sliced,
    "slice with steps": lambda net, x: sliced(net, x, step=2),
    "split": lambda net, x: net.node("Split", [x, net.integers([3, 1])], outputs=2, axis=1),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_a_cut_between_operators_takes_any_batch(cut):
    source = Value((1, 4, 6, 5), 0.05)

    def body(net, x):
        parts = [net.requantize(part, source) for part in cut(net, x)]
        return net.node("Concat", parts[::-1], axis=1)

    case = Case.of(body, source, source)
    single.assert_exact(case, source.sample(0, 3), left=None)


@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_constant_positions(source, data, seed):
    axis = data.draw(st.integers(1, len(source.shape) - 1))
    size = source.shape[axis]
    positions = data.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=6))
    counted = axis - len(source.shape) * data.draw(st.integers(0, 1))

    def body(net, x):
        return net.node("Gather", [x, net.integers(positions)], axis=counted)

    case = Case.of(body, source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_repeated_along_axes_of_one(source, data, seed):
    sizes = list(source.shape)
    short = [1] + [size if data.draw(st.booleans()) else 1 for size in sizes[1:]]
    narrow = Value(tuple(short), source.scale, source.zero_point)

    def body(net, x):
        return net.node("Expand", [x, net.integers([1, *sizes[1:]])])

    case = Case.of(body, narrow, source)
    sample = narrow.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_repeated(source, data, seed):
    times = [1, *(data.draw(st.integers(1, 3)) for _ in source.shape[1:])]

    def body(net, x):
        return net.node("Tile", [x, net.integers(times)])

    case = Case.of(body, source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


def padded(amounts, mode, value, axes):
    def body(net, x):
        given = [x, net.integers(amounts)]
        given.append("" if value is None else net.constant(np.float32(value)))
        if axes is not None:
            given.append(net.integers(axes))
        return net.node("Pad", given, mode=mode)

    return body


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@given(source=values(), data=st.data(), seed=single.seeds)
@single.DRAWN
def test_margins(mode, source, data, seed):
    rank = len(source.shape)
    axes = data.draw(st.lists(st.integers(1, rank - 1), min_size=1, max_size=3, unique=True))
    most = [min(3, source.shape[axis] - 1) for axis in axes] * 2
    amounts = [data.draw(st.integers(0, size)) for size in most]
    step = data.draw(st.integers(-128, 127)) - source.zero_point
    value = None if mode == "reflect" or data.draw(st.booleans()) else step * source.scale
    if data.draw(st.booleans()):
        case = Case.of(padded(amounts, mode, value, axes), source, source)
    else:
        whole = [0] * (2 * rank)
        for position, axis in enumerate(axes):
            whole[axis], whole[rank + axis] = amounts[position], amounts[position + len(axes)]
        case = Case.of(padded(whole, mode, value, None), source, source)
    sample = source.sample(seed)
    single.assert_exact(case, sample, left=None)
    single.assert_real(case, sample)


def refused(body, source=Value((1, 5, 6), 0.05), *more):  # noqa: B008 - frozen
    return single.refusal(Case.of(body, (source, *more), None), quantized=False)


def test_going_backwards_is_refused():
    def body(net, x):
        return net.node("Slice", [x, *map(net.integers, ([4], [0], [1], [-1]))])

    message = refused(body)
    assert "it goes backwards" in message
    assert "flip outside of the model" in message


def test_an_unused_part_is_refused():
    def body(net, x):
        return net.node("Split", [x], outputs=2, axis=2, num_outputs=2)[1]

    message = refused(body)
    assert "one of its parts is not used" in message
    assert "slice instead" in message


@pytest.mark.parametrize("positions", [2, [[0, 1], [2, 3]]])
def test_positions_of_another_rank_are_refused(positions):
    def body(net, x):
        return net.node("Gather", [x, net.integers(positions)], axis=1)

    message = refused(body)
    assert "it drops or adds an axis" in message
    assert "choose with a list" in message


def test_an_added_axis_is_refused():
    def body(net, x):
        return net.node("Expand", [x, net.integers([2, 1, 5, 6])])

    message = refused(body)
    assert "it adds an axis" in message
    assert "reshape first" in message


def test_cropping_by_padding_is_refused():
    message = refused(padded([-1, 0], "constant", None, [1]))
    assert "it crops" in message
    assert "slice instead" in message


@pytest.mark.parametrize("mode", ["edge", "wrap"])
def test_another_padding_is_refused(mode):
    message = refused(padded([1, 1], mode, None, [1]))
    assert f"its mode is {mode}" in message
    assert "use constant or reflect" in message


@pytest.mark.parametrize(
    ("kind", "position", "what"),
    [
        ("Slice", 1, "limits"),
        ("Slice", 2, "limits"),
        ("Slice", 3, "axes or steps"),
        ("Gather", 1, "list of positions"),
        ("Tile", 1, "number of times"),
        ("Pad", 1, "amount"),
        ("Pad", 2, "value"),
    ],
)
def test_computed_parameters_are_refused(kind, position, what):
    constants = {
        "Slice": ([0], [2], [1], [1]),
        "Gather": ([0],),
        "Tile": ([1, 1, 2],),
        "Pad": ([0, 1, 0, 0, 1, 0],),
    }[kind]

    def body(net, x):
        given = [net.integers(data) for data in constants]
        if kind == "Pad":
            given.append(net.constant(np.float32(0)))
        return net.node(kind, [x, *given])

    graph = single.graph_of(Case.of(body, Value((1, 5, 6), 0.05), None), quantized=False)
    graph.tensors[graph.operators[0].inputs[position]].data = None
    with pytest.raises(UnsupportedError, match=f"its {what} is computed"):
        lower(graph)
