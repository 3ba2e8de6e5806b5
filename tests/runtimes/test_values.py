from __future__ import annotations

import hashlib
import io

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.errors import EdgewrightError, ModelError
from runtimes.values import canonical, compare, for_file, load_arrays, pick, sha256_of

BYTES = hnp.arrays(np.int8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=4))


def test_canonical_moves_uint8_down_by_128():
    found = canonical(np.array([[0, 127, 128, 255]], np.uint8))
    assert found.dtype == np.int8
    assert found.tolist() == [[-128, -1, 0, 127]]


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.int64])
def test_canonical_leaves_other_types_alone(dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    found = canonical(array)
    assert found.dtype == dtype
    assert found.tolist() == array.tolist()


def test_canonical_turns_nchw_into_nhwc():
    nchw = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    found = canonical(nchw, "NCHW")
    assert found.shape == (2, 4, 5, 3)
    assert found[1, 2, 3, 1] == nchw[1, 1, 2, 3]
    assert found.flags.c_contiguous


def test_a_layout_says_nothing_about_a_class_vector():
    assert canonical(np.zeros((2, 10), np.int8), "NCHW").shape == (2, 10)


@given(BYTES, st.sampled_from(["", "NHWC", "NCHW"]), st.sampled_from(["int8", "uint8"]))
def test_canonical_undoes_for_file(array, layout, dtype):
    np.testing.assert_array_equal(canonical(for_file(array, dtype, layout), layout), array)


def test_for_file_refuses_what_no_shift_can_mend():
    with pytest.raises(ModelError, match="float32") as caught:
        for_file(np.zeros((1, 2), np.uint8), "float32")
    assert caught.value.found == "uint8"


def test_sha256_is_over_type_shape_and_little_endian_values():
    array = np.array([[1.5, -2.0]], ">f4")
    expected = hashlib.sha256(b"float32 1x2\n" + np.array([1.5, -2.0], "<f4").tobytes())
    assert sha256_of([array]) == expected.hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        np.arange(6, dtype=np.int8).reshape(3, 2),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.arange(1, 7, dtype=np.int8).reshape(2, 3),
    ],
    ids=["shape", "type", "values"],
)
def test_sha256_tells_apart(other):
    assert sha256_of([np.arange(6, dtype=np.int8).reshape(2, 3)]) != sha256_of([other])


def test_sha256_does_not_depend_on_memory_order():
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert sha256_of([array]) == sha256_of([np.asfortranarray(array)])


def test_compare_counts_and_measures_integers():
    one = np.array([[-128, 0, 5, 7]], np.int8)
    other = np.array([[127, 0, 4, 7]], np.int8)
    found = compare([one, np.zeros((1, 3), np.int8)], [other, np.zeros((1, 3), np.int8)])
    assert (found.values, found.differing, found.max_lsb) == (7, 2, 255)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        (1.0, 1.0, 0),
        (1.0, np.nextafter(np.float32(1), np.float32(2)), 1),
        (0.0, -0.0, 1),
        (np.float32(1e-45), np.float32(-1e-45), 3),  # the neighbours of the two zeros
        (float("nan"), float("nan"), 0),
        (2.0, 4.0, 1 << 23),
    ],
)
def test_compare_measures_floats_in_units_in_the_last_place(one, other, distance):
    found = compare([np.array([[one]], np.float32)], [np.array([[other]], np.float32)])
    assert (found.differing, found.max_lsb) == (int(distance > 0), distance)


@given(
    hnp.arrays(np.float32, 8, elements=st.floats(width=32)),
    hnp.arrays(np.float32, 8, elements=st.floats(width=32)),
)
def test_floats_differ_exactly_where_their_bits_do(one, other):
    found = compare([one], [other])
    assert found.differing == np.count_nonzero(one.view(np.int32) != other.view(np.int32))
    assert (found.max_lsb > 0) == (found.differing > 0)


@pytest.mark.parametrize(
    "golden",
    [[np.zeros((2, 3), np.float32)], [np.zeros((2, 4), np.int8)], [], [np.zeros(3, np.int8)] * 2],
    ids=["type", "shape", "none", "two"],
)
def test_compare_refuses_what_does_not_fit(golden):
    with pytest.raises(ModelError, match="do not fit the golden"):
        compare([np.zeros((2, 3), np.int8)], golden)


def test_pick_takes_order_before_name():
    arrays = {
        "input.0": np.zeros((2, 1), np.int8),
        "input.left": np.ones((2, 1), np.int8),
        "input.right": np.full((2, 1), 7, np.int8),
    }
    left, right = pick(arrays, "input", ["left", "right"])
    assert left.max() == 0
    assert right.max() == 7


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "input 0 .'x'. are missing"),
        ({"input.0": np.zeros((2, 1)), "input.1": np.zeros((3, 1))}, "one count of samples"),
        ({"input.0": np.zeros((0, 1)), "input.1": np.zeros((0, 1))}, "1 or more"),
        ({"input.0": np.float32(1), "input.1": np.float32(1)}, "first axis"),
    ],
    ids=["missing", "counts", "empty", "scalar"],
)
def test_pick_refuses(arrays, message):
    with pytest.raises(EdgewrightError, match=message):
        pick(arrays, "input", ["x", "z"])


def npy_bytes():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def damaged_npz_bytes():
    stream = io.BytesIO()
    np.savez_compressed(stream, **{"input.0": np.arange(1000)})
    data = bytearray(stream.getvalue())
    data[200:300] = bytes(100)
    return bytes(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"PK\x03\x04cut off", npy_bytes(), damaged_npz_bytes()],
    ids=["empty", "garbage", "cut", "npy", "altered"],
)
def test_load_arrays_says_which_file_is_damaged(tmp_path, content):
    path = tmp_path / "golden.npz"
    path.write_bytes(content)
    with pytest.raises(EdgewrightError, match=r"golden\.npz cannot be read"):
        load_arrays(str(path))


def test_load_arrays_says_which_file_is_missing(tmp_path):
    with pytest.raises(EdgewrightError, match=r"golden\.npz is missing"):
        load_arrays(str(tmp_path / "golden.npz"))


def test_load_arrays_never_unpickles(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, **{"input.0": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(EdgewrightError, match="plain arrays"):
        load_arrays(str(path))
