"""Damaged and hostile files: one clear error, little memory, and no half-written file."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import GROWING, growing, model, save, small, value, weights

from exporter.convert import Wishes, convert
from exporter.errors import EdgewrightError, ModelError, UnsupportedError
from exporter.ort.mobile import config_path

QUICK = Wishes(samples=0)


def fails(made, tmp_path, error=ModelError, wishes=QUICK):
    """The error's whole text; the target must not be there."""
    target = tmp_path / "out.tflite"
    with pytest.raises(error) as caught:
        convert(save(made, tmp_path / "in.onnx"), target, wishes)
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    return str(caught.value)


def identity_of(shape, nodes, constants=None, out=None, opset=20):
    return model(nodes, [value("x", shape)], [value("y", out)], constants, opset)


def test_cycle(tmp_path):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Relu", ["b"], ["y"], "third"),
    ]
    text = fails(identity_of([1, 4], nodes), tmp_path)
    assert "circle" in text
    assert "'first'" in text
    assert "'second'" in text


def test_missing_constant(tmp_path):
    made = small()
    del made.graph.initializer[0]
    text = fails(made, tmp_path)
    assert "Conv 'conv' reads 'w', which nothing gives" in text
    assert "to do:" in text


def test_output_that_nothing_gives(tmp_path):
    made = small()
    made.graph.output[0].name = "nothing"
    assert "'nothing'" in fails(made, tmp_path)


def test_value_given_twice(tmp_path):
    made = small()
    made.graph.node[1].output[0] = "c"
    assert "given twice" in fails(made, tmp_path)


def test_unsorted_nodes_are_sorted(tmp_path):
    made = small()
    nodes = list(made.graph.node)[::-1]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    result = convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.tflite", QUICK)
    assert result.bytes > 0


def test_wrong_shapes(tmp_path):
    made = small()
    made.graph.initializer[2].CopyFrom(
        onnx.numpy_helper.from_array(weights(5, 63), made.graph.initializer[2].name)
    )
    text = fails(made, tmp_path)
    assert "contradict" in text
    assert "gemm" in text


def test_constant_that_is_shorter_than_it_says(tmp_path):
    made = small()
    made.graph.initializer[0].dims[0] = 400
    text = fails(made, tmp_path)
    assert "constant 'w'" in text
    assert "400x3x3x3" in text


def test_constant_of_a_negative_size(tmp_path):
    made = small()
    made.graph.initializer[0].dims[0] = -4
    assert "negative size" in fails(made, tmp_path)


def test_constant_of_an_unknown_type(tmp_path):
    made = small()
    made.graph.initializer[0].data_type = 999
    assert "data type 999" in fails(made, tmp_path)


@pytest.mark.parametrize(
    "shape", [[1, 3, 2**20, 2**20], [1, 2**31, 2**31, 2**31]], ids=["large", "beyond int64"]
)
def test_huge_input(tmp_path, shape):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    assert "too large" in fails(identity_of(shape, nodes), tmp_path)


@pytest.mark.parametrize("kind", GROWING)
def test_huge_computed_constants(tmp_path, kind):
    fails(growing(kind), tmp_path, EdgewrightError)


def test_external_data_outside_the_folder(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(5 * 64 * 4))
    inside = tmp_path / "inside"
    inside.mkdir()
    for place in ("../secret.bin", str(secret)):
        text = fails(external(place), inside)
        assert "outside" in text
        assert "constant 'v'" in text


def test_external_data_through_a_link(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(5 * 64 * 4))
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "outside" in fails(external("link.bin"), inside)


def test_external_data_that_is_missing(tmp_path):
    assert "is missing" in fails(external("gone.bin"), tmp_path)


@pytest.mark.parametrize("length", ["9999999999999", "-4", "many"])
def test_external_data_that_is_too_short(tmp_path, length):
    (tmp_path / "v.bin").write_bytes(bytes(100))
    fails(external("v.bin", length), tmp_path)


def test_external_data_is_taken_in(tmp_path):
    made = small()
    expected = convert(save(made, tmp_path / "in.onnx"), tmp_path / "one.tflite", QUICK)
    data = onnx.numpy_helper.to_array(made.graph.initializer[2])
    (tmp_path / "v.bin").write_bytes(data.tobytes())
    other = save(external("v.bin"), tmp_path / "external.onnx")
    convert(other, tmp_path / "two.tflite", QUICK)
    assert (tmp_path / "two.tflite").read_bytes() == (tmp_path / "one.tflite").read_bytes()
    assert expected.bytes == (tmp_path / "two.tflite").stat().st_size


def external(place, length=None):
    """The small model, whose dense weight lies in another file."""
    made = small()
    tensor = made.graph.initializer[2]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    if length is not None:
        tensor.external_data.add(key="length", value=length)
    return made


def test_unknown_domain(tmp_path):
    nodes = [helper.make_node("Secret", ["x"], ["y"], "mine", domain="org.example")]
    made = identity_of([1, 4], nodes)
    made.opset_import.add(domain="org.example", version=1)
    text = fails(made, tmp_path, UnsupportedError)
    assert "Secret 'mine'" in text
    assert "'org.example'" in text


def test_control_flow(tmp_path):
    branches = {}
    for key, kind in (("then_branch", "Relu"), ("else_branch", "Neg")):
        node = helper.make_node(kind, ["x"], [f"{key}_y"], f"{key}_node")
        branches[key] = helper.make_graph([node], key, [], [value(f"{key}_y", [1, 4])])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], "sum", keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"], "greater"),
        helper.make_node("If", ["c"], ["y"], "choose", **branches),
    ]
    made = identity_of([1, 4], nodes, {"zero": np.float32(0)}, [1, 4])
    text = fails(made, tmp_path, UnsupportedError)
    assert "If 'choose'" in text
    assert "decided while the model runs" in text


def test_branch_that_is_decided_by_constants(tmp_path):
    branches = {}
    for key, kind in (("then_branch", "Relu"), ("else_branch", "Neg")):
        node = helper.make_node(kind, ["x"], [f"{key}_y"], f"{key}_node")
        branches[key] = helper.make_graph([node], key, [], [value(f"{key}_y", [1, 4])])
    nodes = [helper.make_node("If", ["c"], ["y"], "choose", **branches)]
    made = identity_of([1, 4], nodes, {"c": np.array(True)}, [1, 4])
    result = convert(save(made, tmp_path / "in.onnx"), tmp_path / "out.tflite")
    assert {row.differing for row in result.differences} == {0}


def test_function_that_calls_itself(tmp_path):
    function = helper.make_function(
        "org.example",
        "Again",
        ["a"],
        ["b"],
        [helper.make_node("Again", ["a"], ["b"], "again", domain="org.example")],
        [helper.make_opsetid("org.example", 1)],
    )
    nodes = [helper.make_node("Again", ["x"], ["y"], "call", domain="org.example")]
    made = identity_of([1, 4], nodes)
    made.opset_import.add(domain="org.example", version=1)
    made.functions.append(function)
    fails(made, tmp_path, EdgewrightError)


def test_operator_without_a_lowering(tmp_path):
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"], "running")]
    text = fails(identity_of([1, 4], nodes, {"axis": np.int64(1)}), tmp_path, UnsupportedError)
    assert "CumSum 'running'" in text


def test_node_that_lacks_an_input(tmp_path):
    made = small()
    del made.graph.node[0].input[:]
    text = fails(made, tmp_path)
    assert "Conv 'conv' is not what the standard says" in text


def test_attribute_of_another_type(tmp_path):
    made = small()
    made.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", "wide"))
    assert "Conv 'conv' is not what the standard says" in fails(made, tmp_path)


@pytest.mark.parametrize("opset", [3, 6, 99])
def test_opsets_that_cannot_be_read(tmp_path, opset):
    text = fails(small(opset), tmp_path)
    assert f"opset {opset}" in text


def test_shape_that_stays_open(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    text = fails(identity_of([1, 3, "H", "W"], nodes), tmp_path)
    assert "axis 2 is open" in text
    assert "--input x=" in text


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"z": (1, 3, 8, 8)}, "no input 'z'"),
        ({"x": (1, 4, 8, 8)}, "cannot have the shape 1x4x8x8"),
        ({"x": (1, 3, 8)}, "cannot have the shape 1x3x8"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, shapes, words):
    assert words in fails(small(), tmp_path, wishes=Wishes(shapes=shapes, samples=0))


@pytest.mark.parametrize("suffix", ["", ".pb", ".bin"])
def test_target_of_an_unknown_format(tmp_path, suffix):
    source = save(small(), tmp_path / "in.onnx")
    with pytest.raises(ModelError, match="no format that is known"):
        convert(source, tmp_path / f"out{suffix}", QUICK)


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="is missing"):
        convert(tmp_path / "gone.onnx", tmp_path / "out.tflite", QUICK)


@pytest.mark.parametrize("content", [b"", b"hello, this is a text", b"\x00" * 100, b"TFL3" * 30])
def test_files_that_are_no_onnx(tmp_path, content):
    (tmp_path / "in.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"read as ONNX|holds no ONNX graph"):
        convert(tmp_path / "in.onnx", tmp_path / "out.tflite", QUICK)


def test_existing_target_survives_a_failure(tmp_path):
    (tmp_path / "in.onnx").write_bytes(b"damaged")
    (tmp_path / "out.tflite").write_bytes(b"before")
    with pytest.raises(ModelError):
        convert(tmp_path / "in.onnx", tmp_path / "out.tflite", QUICK)
    assert (tmp_path / "out.tflite").read_bytes() == b"before"


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_damaged_file_is_converted_or_refused(tmp_path, data):
    """Cut off, overwritten or repeated bytes: an EdgewrightError, never another exception."""
    content = bytearray(small().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4), "damages")):
        place = data.draw(st.integers(0, max(0, len(content) - 1)), "place")
        kind = data.draw(st.sampled_from(["flip", "cut", "repeat", "drop"]), "kind")
        if kind == "flip" and content:
            content[place] ^= data.draw(st.integers(1, 255), "bits")
        elif kind == "cut":
            del content[max(1, place) :]
        elif kind == "repeat":
            content[place:place] = content[place : place + 40]
        else:
            del content[place : place + data.draw(st.integers(1, 30), "length")]
    source, target = tmp_path / "in.onnx", tmp_path / "out.tflite"
    source.write_bytes(bytes(content))
    target.unlink(missing_ok=True)
    with suppress(EdgewrightError):
        convert(source, target, QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["in.onnx"],
        ["in.onnx", "out.tflite"],
    )


@pytest.mark.parametrize("suffix", [".onnx", ".ort"])
@pytest.mark.parametrize("link", ["none", "symlink", "hard link"])
def test_the_source_is_never_written_over(tmp_path, suffix, link):
    source = target = tmp_path / f"model{suffix}"
    save(small(), source)
    before = source.read_bytes()
    if link != "none":
        target = tmp_path / f"link{suffix}"
        target.symlink_to(source) if link == "symlink" else target.hardlink_to(source)
    with pytest.raises(ModelError, match="is the source"):
        convert(source, target, QUICK)
    assert source.read_bytes() == before


def test_nor_by_what_lies_beside_the_target(tmp_path):
    source = config_path(tmp_path / "model.ort")
    save(small(), source)
    before = source.read_bytes()
    with pytest.raises(ModelError, match="is the source"):
        convert(source, tmp_path / "model.ort", QUICK)
    assert source.read_bytes() == before
