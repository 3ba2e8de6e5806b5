from __future__ import annotations

import hashlib
import lzma
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import PackageError
from exporter.pack import PORTABLE, Device, Options, encode, pack
from runtimes import coders, container, decode
from runtimes.unpack import unpack


def restored(package):
    return bytes(decode.restore(container.read(package)))


def xz_bytes(data):
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def deflate_bytes(data):
    return len(zlib.compress(data, 9))


def noise(size, symbols=256, seed=0):
    return np.random.default_rng(seed).integers(0, symbols, size, np.uint8).tobytes()


PLAIN = {
    "empty": b"",
    "one byte": b"x",
    "zeros": bytes(10_000),
    "one symbol": b"\x7f" * 5000,
    "noise": noise(5000),
    "few symbols": noise(5000, 5),
    "text": b"a line of text\n" * 200,
}


@pytest.mark.parametrize("brotli", [False, True])
@pytest.mark.parametrize("content", PLAIN)
def test_any_file_round_trips(content, brotli):
    package, summary = encode(PLAIN[content], "a.bin", Options(Device(brotli=brotli)))
    assert restored(package) == PLAIN[content]
    assert summary.note
    assert len(package) <= len(PLAIN[content]) + 80


@pytest.mark.parametrize("brotli", [False, True])
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("layers", ["sparse_layers", "mobile_layers"])
def test_models_round_trip(models, request, layers, file_format, brotli):
    data = getattr(models, file_format)(request.getfixturevalue(layers))
    package, summary = encode(data, f"a.{file_format}", Options(Device(brotli=brotli)))
    assert restored(package) == data
    assert summary.note == ""
    assert container.read(package).format == file_format


@settings(max_examples=8, deadline=None)
@given(
    widths=st.lists(st.integers(2, 9), min_size=2, max_size=3),
    sparsity=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    depthwise=st.booleans(),
    file_format=st.sampled_from(["tflite", "onnx"]),
    seed=st.integers(0, 99),
)
def test_any_model_round_trips(models, widths, sparsity, depthwise, file_format, seed):
    layers = models.make_layers(sparsity, widths=widths, depthwise=depthwise, seed=seed)
    data = getattr(models, file_format)(layers)
    assert restored(encode(data, f"a.{file_format}")[0]) == data


def test_a_fast_package_has_nothing_that_takes_a_reader_long(models, sparse_layers):
    data = models.tflite(sparse_layers)
    package, _ = encode(data, "a.tflite", Options(Device(fast=True)))
    groups = container.read(package).groups
    assert restored(package) == data
    assert {stream.coder for one in groups for stream in one.streams} <= {
        coders.CODER_RAW,
        coders.CODER_DEFLATE,
        coders.CODER_ZEROS,
    }
    assert decode.METHOD_SPLIT in {one.method for one in groups}


def test_a_model_whose_weights_are_all_zero_round_trips(models, sparse_layers):
    layers = [replace(one, weights=np.zeros_like(one.weights)) for one in sparse_layers]
    package, summary = encode(models.tflite(layers), "a.tflite")
    assert restored(package) == models.tflite(layers)
    weights = sum(one.package_bytes for one in summary.groups if one.content == "weights")
    assert weights <= 40


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64])
def test_a_damaged_model_still_round_trips(models, sparse_layers, damage):
    data = models.tflite(sparse_layers)
    data = data[:5000] + damage + data[5000 + 2 * len(damage) + 1000 :]
    assert restored(encode(data, "a.tflite")[0]) == data


# Measured below xz -9e: 14.8 % (.tflite) and 18.2 % (.onnx) at 90 % sparsity, 18.4 and 21.4 at 95.
@pytest.mark.parametrize(("sparsity", "at_most"), [(0.9, 0.88), (0.95, 0.85)])
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_pruned_model_packs_smaller_than_xz(models, file_format, sparsity, at_most):
    data = getattr(models, file_format)(models.make_layers(sparsity))
    package, _ = encode(data, f"a.{file_format}")
    assert len(package) <= at_most * xz_bytes(data)


def test_the_weights_of_a_pruned_model_take_few_bits(models, sparse_layers):
    """Measured: 1.19 bits a weight at 90 % sparsity, where the zero mask alone costs 0.47."""
    _, summary = encode(models.tflite(sparse_layers), "a.tflite")
    weights = [one for one in summary.groups if one.content == "weights"]
    sparse = max(weights, key=lambda one: one.items)
    assert sparse.method.startswith("class rANS")
    assert sparse.items == 73_728
    assert sparse.bits_per_weight < 1.25


@pytest.mark.parametrize("name", ["tflite", "onnx", "noise", "few symbols", "text"])
def test_a_dense_file_packs_as_well_as_by_the_best_of_xz_and_zlib(models, name):
    if name in PLAIN:
        data = PLAIN[name]
        name = "bin"
    else:
        data = getattr(models, name)(models.make_layers(0.0))
    package, summary = encode(data, f"a.{name}")
    best = min(xz_bytes(data), deflate_bytes(data), len(data))
    # The name and the SHA-256, which the others do not have, weigh on small files only.
    assert len(package) - summary.header_bytes <= 1.005 * best
    assert len(package) <= 1.005 * best + 80


def test_the_overhead_is_small(models, sparse_layers):
    """32 bytes of it are the SHA-256 of the original, 8 the two CRCs."""
    _, summary = encode(models.tflite(sparse_layers), "a.tflite")
    assert summary.header_bytes <= 220
    assert encode(b"", "a.bin")[1].package_bytes < 70


def test_bias_scales_are_stored_as_products(models, sparse_layers):
    _, summary = encode(models.tflite(sparse_layers), "a.tflite")
    (products,) = [one for one in summary.groups if one.method.startswith("product")]
    assert products.spans == len(sparse_layers)
    assert products.package_bytes <= 6 * products.spans


def test_channel_order_is_taken_where_it_packs_better(models, sparse_layers):
    """Weights of one input channel are alike, and TFLite's order scatters them."""
    data = models.tflite(sparse_layers)
    package, _ = encode(data, "a.tflite", Options(PORTABLE))
    shapes = {span.shape: span.order for span in container.read(package).spans}
    assert shapes[64, 9, 64] == (0, 2, 1)


def test_the_summary_is_what_the_package_holds(models, sparse_layers):
    data = models.tflite(sparse_layers)
    package, summary = encode(data, "a.tflite")
    assert summary.original_bytes == len(data)
    assert summary.package_bytes == len(package)
    assert summary.sha256 == hashlib.sha256(data).hexdigest()
    assert summary.package_sha256 == hashlib.sha256(package).hexdigest()
    assert summary.header_bytes + sum(one.package_bytes for one in summary.groups) == len(package)
    assert sum(one.original_bytes for one in summary.groups) == len(data)
    assert summary.groups[0].content == "skeleton"


def test_packing_twice_gives_the_same_package(models, mobile_layers):
    data = models.tflite(mobile_layers)
    assert encode(data, "a.tflite") == encode(data, "a.tflite")


def test_no_brotli_unless_it_is_allowed(models, mobile_layers):
    def made(brotli):
        options = Options(Device(brotli=brotli))
        return encode(models.tflite(mobile_layers), "a.tflite", options)[0]

    def used(brotli):
        parsed = container.read(made(brotli))
        return {stream.coder for group in parsed.groups for stream in group.streams}

    assert coders.CODER_BROTLI not in used(False)
    assert coders.CODER_BROTLI in used(True)


@pytest.mark.parametrize("name", ["", ".hidden", "a:b", "a\\b", "a\nb", "x" * 256, "\udcff"])
def test_a_name_that_no_package_may_hold_is_refused(name):
    with pytest.raises(PackageError, match="rename the file"):
        encode(b"content", name)


def test_a_file_that_no_reader_accepts_is_refused(monkeypatch):
    monkeypatch.setattr(container, "DEFAULT_CEILING_BYTES", 3)
    with pytest.raises(PackageError, match="too large"):
        encode(b"four", "a.bin")


def test_pack_writes_what_unpack_restores(models, sparse_layers, tmp_path):
    source = tmp_path / "model.tflite"
    source.write_bytes(models.tflite(sparse_layers))
    summary = pack(source, tmp_path / "out" / "model.ewp")
    assert summary.package_bytes == (tmp_path / "out" / "model.ewp").stat().st_size
    assert unpack(tmp_path / "out" / "model.ewp").read_bytes() == source.read_bytes()
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["model.ewp", "model.tflite"]


def test_pack_of_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(PackageError, match="cannot be read"):
        pack(tmp_path / "none.tflite", tmp_path / "a.ewp")


def test_a_package_that_does_not_unpack_is_never_written(tmp_path, monkeypatch):
    source = tmp_path / "a.bin"
    source.write_bytes(b"content")
    monkeypatch.setattr(decode, "restore", lambda *_: bytearray(b"other"))
    with pytest.raises(RuntimeError, match="does not restore"):
        pack(source, tmp_path / "a.ewp")
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]
