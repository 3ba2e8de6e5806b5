from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import PackageError
from exporter.pack import Options, delta, encode, pack
from exporter.pack.assemble import assemble, base_section, describe
from exporter.pack.methods import CodedGroup
from exporter.pack.moved import code_moved, estimated_bytes
from exporter.pack.streams import ORDINARY, raw
from runtimes import container, decode
from runtimes.container import Base
from runtimes.unpack import load_base, unpack


def moved(layers, share=0.05, seed=1):
    """Live weights moved a little, the mask as it was."""
    random = np.random.default_rng(seed)

    def change(layer):
        old = layer.weights.astype(int)
        hit = (random.random(old.shape) < share) & (old != 0)
        new = old + hit * random.integers(1, 4, old.shape) * random.choice([-1, 1], old.shape)
        new = np.where((old != 0) & (new == 0), np.sign(old), new)
        return replace(layer, weights=np.clip(new, -127, 127).astype(np.int8))

    return [change(layer) for layer in layers]


@pytest.fixture
def releases(models, sparse_layers, tmp_path):
    """Three releases of a model, as files 0.tflite to 2.tflite."""
    layers = sparse_layers
    for number in range(3):
        (tmp_path / f"{number}.tflite").write_bytes(models.tflite(layers))
        layers = moved(layers, seed=number)
    return tmp_path


def restored(package, base):
    return bytes(decode.restore(container.read(package), base))


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_delta_restores_the_new_file_and_is_small(models, sparse_layers, tmp_path, file_format):
    make = getattr(models, file_format)
    old, new = make(sparse_layers), make(moved(sparse_layers))
    (tmp_path / "old").write_bytes(old)
    package, summary = encode(new, f"a.{file_format}", Options(base=(tmp_path / "old",)))
    assert restored(package, old) == new
    assert summary.delta
    assert summary.note == ""
    assert len(package) < 0.2 * len(encode(new, f"a.{file_format}")[0])


def test_frozen_masks_and_moved_weights_take_a_third_less_than_bsdiff(models, sparse_layers):
    """bsdiff4's own size for these two files: 1,763 bytes."""
    old = np.concatenate([one.weights.reshape(-1) for one in sparse_layers]).view(np.uint8)
    new = np.concatenate([one.weights.reshape(-1) for one in moved(sparse_layers)]).view(np.uint8)
    taken = sum(len(stream.stored) for stream in code_moved(new, old, ORDINARY))
    assert taken < 0.7 * 1763
    assert 0.7 * taken < estimated_bytes(new, old) < 1.3 * taken


def test_a_chain_of_deltas_leads_to_the_newest_release(releases):
    paths = [releases / f"{number}.tflite" for number in range(3)]
    packages = [releases / f"{number}.ewp" for number in range(3)]
    pack(paths[0], packages[0])
    pack(paths[1], packages[1], Options(base=(paths[0],)))
    # The base may be a chain itself, for the packer as for the reader.
    pack(paths[2], packages[2], Options(base=(packages[0], packages[1])))
    assert packages[2].stat().st_size < 0.2 * packages[0].stat().st_size
    from_packages = unpack(packages[2], releases / "a", base=packages[:2])
    assert from_packages.read_bytes() == paths[2].read_bytes()
    step = unpack(packages[1], releases / "b", base=[paths[0]])
    assert unpack(packages[2], releases / "c", base=[step]).read_bytes() == paths[2].read_bytes()
    assert load_base([paths[0]]) == paths[0].read_bytes()


@pytest.mark.parametrize("wrong", ["none", "other", "longer", "altered"])
def test_a_wrong_base_is_refused_by_its_hash(releases, wrong):
    package = releases / "1.ewp"
    pack(releases / "1.tflite", package, Options(base=(releases / "0.tflite",)))
    right = (releases / "0.tflite").read_bytes()
    bad = {
        "none": None,
        "other": (releases / "2.tflite").read_bytes(),
        "longer": right + b"\0",
        "altered": right[:-1] + bytes([right[-1] ^ 1]),
    }[wrong]
    with pytest.raises(PackageError, match="delta") as caught:
        restored(package.read_bytes(), bad)
    assert container.read(package.read_bytes()).base.sha256.hex() in caught.value.expected
    assert caught.value.remedy
    (releases / "bad").write_bytes(bad or b"")
    with pytest.raises(PackageError, match="delta"):
        unpack(package, releases / "out", base=[] if bad is None else [releases / "bad"])
    assert not (releases / "out").exists()


def test_a_delta_larger_than_the_full_package_is_replaced_by_it_with_a_word(models, tmp_path):
    (tmp_path / "old").write_bytes(np.random.default_rng(0).bytes(5000))
    data = models.tflite(models.make_layers(0.9))
    full, _ = encode(data, "a.tflite")
    package, summary = encode(data, "a.tflite", Options(base=(tmp_path / "old",)))
    assert package == full
    assert not summary.delta
    assert f"the full package {len(full)}" in summary.note
    assert restored(package, None) == data


def test_the_same_file_again_takes_next_to_nothing(models, sparse_layers, tmp_path):
    data = models.tflite(sparse_layers)
    (tmp_path / "old").write_bytes(data)
    package, _ = encode(data, "a.tflite", Options(base=(tmp_path / "old",)))
    assert len(package) < 600
    assert restored(package, data) == data


def test_scales_and_biases_are_differences_too(models, sparse_layers, tmp_path):
    """Every scale and bias moves by a little; the weights stay."""
    new = [
        replace(one, weight_scale=one.weight_scale * np.float32(1.001), bias=one.bias + 3)
        for one in sparse_layers
    ]
    (tmp_path / "old").write_bytes(models.tflite(sparse_layers))
    package, summary = encode(models.tflite(new), "a.tflite", Options(base=(tmp_path / "old",)))
    methods = {group.content: group.method for group in summary.groups}
    assert methods["floats"].startswith(("difference", "product"))
    assert methods["biases"].startswith("difference")
    assert restored(package, models.tflite(sparse_layers)) == models.tflite(new)


def test_a_layout_that_shifted_is_patched(models, sparse_layers, tmp_path):
    """Bytes put in before everything else: the rest of the skeleton is found where it went."""
    old = models.onnx(sparse_layers)
    import onnx

    model = onnx.load_model_from_string(old)
    model.producer_name = "another producer with a longer name"
    model.graph.node[0].name = "a name where there was none"
    new = model.SerializeToString()
    assert len(new) != len(old)
    (tmp_path / "old").write_bytes(old)
    package, summary = encode(new, "a.onnx", Options(base=(tmp_path / "old",)))
    assert restored(package, old) == new
    assert summary.groups[0].method.startswith("patch")
    assert len(package) < 1000


def test_tensors_that_are_new_are_coded_in_full(models, sparse_layers, tmp_path):
    old = models.tflite(sparse_layers[:-1])
    new = models.tflite(sparse_layers)
    (tmp_path / "old").write_bytes(old)
    package, _ = encode(new, "a.tflite", Options(base=(tmp_path / "old",)))
    assert restored(package, old) == new
    assert any(span.base_offset is None for span in container.read(package).spans)
    assert len(package) < 0.9 * len(encode(new, "a.tflite")[0])


@given(old=st.binary(max_size=300), new=st.binary(max_size=300), cut=st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_any_two_files_make_a_patch(old, new, cut):
    new = old[:cut] + new
    before = delta.find_old(old, "a.bin", ())
    coded = delta.patch_skeleton(new, (), before, ORDINARY)
    head = describe("a.bin", "other", len(new), hashlib.sha256(new).digest())
    package = assemble(head, [], [coded], [base_section(before.base, [])])
    assert restored(package, old) == new


@pytest.mark.parametrize(
    "operations",
    [
        (0, 0, 0),  # nothing at all, for ever
        (0, 5, 0),  # more than the base has
        (1, 0, 4),  # before the base's begin
        (0, 3, 1),  # more differences than there are
        (0, 2, 3),  # more than the group holds
        (0, 1, 3),  # more new bytes than there are
        (0, 2, 1),  # less than the group holds
    ],
)
def test_a_patch_that_lies_is_refused(operations):
    base = Base(hashlib.sha256(b"base").digest(), 4)
    streams = (raw(bytes(operations)), raw(b"\0\0"), raw(b"xy"))
    coded = CodedGroup("skeleton", 1, decode.METHOD_PATCH, 4, streams)
    head = describe("a.bin", "other", 4, hashlib.sha256(b"baxy").digest())
    good = replace(coded, streams=(raw(bytes((0, 2, 2))), *streams[1:]))
    assert restored(assemble(head, [], [good], [base_section(base, [])]), b"base") == b"baxy"
    with pytest.raises(PackageError):
        restored(assemble(head, [], [coded], [base_section(base, [])]), b"base")
