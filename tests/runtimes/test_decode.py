from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack import encode, huffman, rans
from exporter.pack.assemble import assemble, describe
from exporter.pack.methods import CodedGroup, Source, gap_value, planes, zigzag
from exporter.pack.numbers import varint
from exporter.pack.streams import Coded, _brotli, _deflate, _lzma, squeeze
from runtimes import coders, container, decode, methods
from runtimes.arrays import METHODS, method
from runtimes.container import Span
from runtimes.errors import PackageError

ROOT = Path(__file__).resolve().parents[2]
CODE = {
    coders.CODER_RAW: bytes,
    coders.CODER_DEFLATE: _deflate(9, 0, 9),
    coders.CODER_LZMA: _lzma(0, 0, 0),
    coders.CODER_BROTLI: _brotli,
    coders.CODER_HUFFMAN: huffman.encode_stream,
    coders.CODER_RANS: rans.encode_stream,
}
CODERS = sorted(CODE)


def raw(content, declared=None):
    return Coded(coders.CODER_RAW, len(content) if declared is None else declared, content)


def group(method, *streams, item_bytes=1):
    return CodedGroup("other", item_bytes, method, 0, streams)


def package(data, spans, *groups):
    """A package without a skeleton."""
    head = describe("a.bin", "other", len(data), hashlib.sha256(data).digest())
    return assemble(head, spans, [group(decode.METHOD_FLAT, raw(b"")), *groups])


def one_group(data, method, *streams, item_bytes=1):
    spans = [Span(0, len(data), (len(data) // item_bytes,), (0,), 1)]
    return package(data, spans, group(method, *streams, item_bytes=item_bytes))


def restored(data, **options):
    return bytes(decode.restore(container.read(data, **options)))


FORMAT = Path(container.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")


def test_the_format_lists_every_coder_and_method():
    names = {number: entry.name for number, entry in coders.CODERS.items()}
    for table in (names, decode.METHOD_NAMES):
        for number, name in table.items():
            assert f"| {number} | {name} |" in FORMAT
    assert set(METHODS) == set(decode.METHOD_NAMES)


@pytest.mark.parametrize("number", sorted(set(range(256)) - set(decode.METHOD_NAMES)))
def test_a_method_that_this_reader_lacks_is_refused(number):
    with pytest.raises(PackageError, match=rf"lacks[\s\S]* {number}\b") as caught:
        restored(one_group(b"abcd", number, raw(b"abcd")))
    assert "update" in caught.value.remedy


@pytest.mark.parametrize("number", sorted(set(range(256)) - set(coders.CODERS)))
def test_a_coder_that_this_reader_lacks_is_refused(number):
    with pytest.raises(PackageError, match=rf"lacks[\s\S]* {number}\b") as caught:
        restored(one_group(b"abcd", decode.METHOD_FLAT, Coded(number, 4, b"abcd")))
    assert "update" in caught.value.remedy


@pytest.mark.parametrize("register", [coders.coder, lambda number, _: method(number)])
def test_a_number_is_registered_once(register):
    with pytest.raises(ValueError, match="registered already"):
        register(0, "again")(lambda *_: b"")


@pytest.mark.parametrize("coder", CODERS)
@given(content=st.binary(max_size=300))
@settings(max_examples=30, deadline=None)
def test_coders_round_trip(coder, content):
    stored = memoryview(CODE[coder](content))
    assert coders.CODERS[coder].decode(stored, len(content)) == content


@pytest.mark.parametrize("coder", CODERS[:4])
@pytest.mark.parametrize("declared", [0, 1, 99, 101, 1 << 20])
def test_a_stream_of_another_size_than_declared_is_refused(coder, declared):
    stored = memoryview(CODE[coder](bytes(100)))
    with pytest.raises(PackageError, match="declared size"):
        coders.CODERS[coder].decode(stored, declared)


@pytest.mark.parametrize("coder", CODERS[4:])
@pytest.mark.parametrize("declared", [0, 1, 400, 600, 1 << 20])
def test_an_entropy_coded_stream_of_another_size_than_declared_is_refused(coder, declared):
    content = np.random.default_rng(0).integers(0, 9, 500, np.uint8).tobytes()
    with pytest.raises(PackageError):
        coders.CODERS[coder].decode(memoryview(CODE[coder](content)), declared)


@pytest.mark.parametrize("coder", CODERS[1:])
@pytest.mark.parametrize("length", [100, 5000])
def test_a_stream_cut_short_or_with_more_behind_it_is_refused(coder, length):
    content = np.random.default_rng(0).integers(0, 9, length, np.uint8).tobytes()
    stored = CODE[coder](content)
    for bad in (stored[:-1], stored[: len(stored) // 2], b"", stored + b"\0", stored + stored):
        with pytest.raises(PackageError):
            coders.CODERS[coder].decode(memoryview(bad), length)


@pytest.mark.parametrize("coder", CODERS[1:])
def test_a_stream_of_garbage_is_refused(coder):
    with pytest.raises(PackageError):
        coders.CODERS[coder].decode(memoryview(b"\xff\xee" * 50), 1000)


@pytest.mark.parametrize("length", [0, 1, 5000, (1 << 18) + 1])
def test_a_stream_of_zeros_stores_nothing(length):
    zeros = coders.CODERS[coders.CODER_ZEROS]
    assert zeros.decode(memoryview(b""), length) == bytes(length)
    with pytest.raises(PackageError, match="zeros alone"):
        zeros.decode(memoryview(b"\0"), length)


def test_a_device_without_brotli_says_what_to_do(monkeypatch):
    stream = Coded(coders.CODER_BROTLI, 4, _brotli(b"abcd"))
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(PackageError, match="pip install brotli"):
        restored(one_group(b"abcd", decode.METHOD_FLAT, stream))


def test_brotli_that_never_ends_is_refused():
    import brotli

    compressor = brotli.Compressor()
    open_ended = compressor.process(b"abcd" * 9) + compressor.flush()
    with pytest.raises(PackageError, match="does not end"):
        coders.CODERS[coders.CODER_BROTLI].decode(memoryview(open_ended), 36)


@pytest.mark.parametrize("coder", [coders.CODER_DEFLATE, coders.CODER_LZMA, coders.CODER_BROTLI])
def test_a_bomb_is_refused_at_its_first_pieces(coder):
    bomb = memoryview(CODE[coder](bytes(50 << 20)))
    pieces = [len(piece) for piece in coders.CODERS[coder].function(bomb, 50 << 20)]
    assert max(pieces) < 1 << 20
    tracemalloc.start()
    with pytest.raises(PackageError, match="declared size"):
        coders.CODERS[coder].decode(bomb, 10)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize("method", [decode.METHOD_FLAT, decode.METHOD_SPLIT])
def test_no_group_is_held_a_second_time(method):
    random = np.random.default_rng(0)
    data = (random.integers(1, 9, 4 << 20, np.uint8) * (random.random(4 << 20) < 0.1)).tobytes()
    split = method == decode.METHOD_SPLIT
    contents = gap_value(Source("weights", 1, data)) if split else [data]
    coded = [
        Coded(coders.CODER_DEFLATE, len(one), CODE[coders.CODER_DEFLATE](one)) for one in contents
    ]
    stored = one_group(data, method, *coded)
    tracemalloc.start()
    assert restored(stored) == data  # which makes a second copy, of bytes
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2.2 * len(data)


def test_gaps_are_expanded_in_little_memory():
    """A file of 300 kB must not take five times as much."""
    random = np.random.default_rng(0)
    data = (random.integers(1, 9, 300_000, np.uint8) * (random.random(300_000) < 0.1)).tobytes()
    stored = one_group(data, decode.METHOD_SPLIT, *map(raw, gap_value(Source("weights", 1, data))))
    parsed = container.read(stored)
    tracemalloc.start()
    assert decode.restore(parsed) == data
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2.5 * len(data)


def test_an_old_brotli_that_cannot_limit_its_output_serves(monkeypatch):
    import brotli

    new = brotli.Decompressor

    class Old:
        def __init__(self):
            self._new = new()
            self.is_finished = self._new.is_finished

        def process(self, data):
            return self._new.process(data)

    content = np.random.default_rng(0).integers(0, 9, 5000, np.uint8).tobytes()
    stored = memoryview(_brotli(content))
    monkeypatch.setattr(brotli, "Decompressor", Old)
    assert coders.CODERS[coders.CODER_BROTLI].decode(stored, 5000) == content
    with pytest.raises(PackageError, match="declared size"):
        coders.CODERS[coders.CODER_BROTLI].decode(stored, 4999)


def test_gaps_and_values_are_what_the_format_says():
    data = (
        b"\1" + bytes(2) + b"\xff" + bytes(255) + b"\7" + bytes(255 + 255 + 3) + b"\x09" + bytes(5)
    )
    gaps = raw(bytes([0, 2, 255, 0, 255, 255, 3]))
    assert restored(one_group(data, decode.METHOD_SPLIT, gaps, raw(b"\1\xff\7\x09"))) == data


@pytest.mark.parametrize(
    ("gaps", "values", "message"),
    [
        (b"\0\0\0\0\0", b"abcde", "does not fit its group"),
        (b"\3\0", b"ab", "do not fit"),
        (b"\xff", b"", "do not fit"),
        (b"\0\0", b"a", "do not fit"),
        (b"\0", b"ab", "does not fit its group"),
        (b"\0\xff", b"ab", "do not fit"),
        (b"\0\0\0", b"ab", "do not fit"),
        (b"\0\0", b"abc", "does not fit its group"),
    ],
)
def test_gaps_that_lie_are_refused(gaps, values, message):
    with pytest.raises(PackageError, match=message):
        restored(one_group(b"abcd", decode.METHOD_SPLIT, raw(gaps), raw(values)))


def test_values_left_over_are_refused():
    data = b"a" + bytes(999)
    lie = one_group(data, decode.METHOD_SPLIT, raw(b"\0\xff"), raw(b"ab"))
    with pytest.raises(PackageError, match="value stream"):
        restored(lie)


def test_gaps_longer_than_a_block(monkeypatch):
    monkeypatch.setattr(methods, "BLOCK_TOKENS", 7)
    random = np.random.default_rng(0)
    data = (random.integers(1, 256, 3000) * (random.random(3000) < 0.02)).astype(np.uint8)
    package_, _ = encode(data.tobytes(), "a.bin")
    assert restored(package_) == data.tobytes()
    streams = [raw(stream) for stream in gap_value(Source("weights", 1, data.tobytes()))]
    assert restored(one_group(data.tobytes(), decode.METHOD_SPLIT, *streams)) == data.tobytes()


@pytest.mark.parametrize(
    ("method", "streams", "item_bytes"),
    [
        (decode.METHOD_FLAT, [raw(b"abc")], 1),
        (decode.METHOD_FLAT, [raw(b"abcde")], 1),
        (decode.METHOD_FLAT, [], 1),
        (decode.METHOD_FLAT, [raw(b"ab"), raw(b"cd")], 1),
        (decode.METHOD_SPLIT, [raw(b"")], 1),
        (decode.METHOD_PLANES, [raw(b"a")] * 3, 4),
        (decode.METHOD_PLANES, [raw(b"a")] * 3 + [raw(b"ab")], 4),
        (decode.METHOD_ZIGZAG, [raw(b"ab")] * 3, 2),
        (decode.METHOD_PRODUCT, [raw(b"")], 4),
        (decode.METHOD_PRODUCT, [raw(bytes(14))], 4),
        (decode.METHOD_PRODUCT, [raw(bytes(4))], 1),
    ],
)
def test_streams_that_do_not_fit_their_group_are_refused(method, streams, item_bytes):
    with pytest.raises(PackageError):
        restored(one_group(b"abcd", method, *streams, item_bytes=item_bytes))


@pytest.mark.parametrize("method", [decode.METHOD_PLANES, decode.METHOD_ZIGZAG])
def test_a_skeleton_that_is_no_whole_number_of_items_is_refused(method):
    head = describe("a.bin", "other", 5, hashlib.sha256(b"abcde").digest())
    bad = assemble(head, [], [group(method, *[raw(b"a")] * 4, item_bytes=4)])
    with pytest.raises(PackageError, match="whole number"):
        restored(bad)


def product_package(table, groups=(1, 2), lengths=(4, 4)):
    """Two float32 spans, of which the one in group 2 is three times the other."""
    first = np.arange(1, lengths[0] + 1, dtype="<f4")
    second = np.arange(1, lengths[1] + 1, dtype="<f4") * np.float32(3)
    data = first.tobytes() + second.tobytes()
    spans = [
        Span(0, first.nbytes, first.shape, (0,), groups[0]),
        Span(first.nbytes, second.nbytes, second.shape, (0,), groups[1]),
    ]
    source = first if groups[0] < groups[1] else second
    coded = [
        group(decode.METHOD_FLAT, raw(source.tobytes()), item_bytes=4),
        group(decode.METHOD_PRODUCT, raw(table), item_bytes=4),
    ]
    return data, package(data, spans, *coded)


def test_a_product_is_its_source_times_a_factor():
    data, good = product_package(np.float32(3).tobytes() + varint(0))
    assert restored(good) == data


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (1, {}),
        (2, {}),
        (1 << 40, {}),
        (0, {"lengths": (4, 5)}),
        (0, {"groups": (2, 1)}),
    ],
)
def test_a_product_of_a_span_that_it_cannot_use_is_refused(source, options):
    _, bad = product_package(np.float32(3).tobytes() + varint(source), **options)
    with pytest.raises(PackageError, match="cannot use"):
        restored(bad)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "ends too early"),
        (bytes(4), "ends too early"),
        (bytes(4) + b"\x80", "ends too early"),
        (bytes(6), "table is too long"),
        (bytes(14), "does not fit its group"),
    ],
)
def test_a_product_table_of_another_length_is_refused(table, message):
    _, bad = product_package(table)
    with pytest.raises(PackageError, match=message):
        restored(bad)


@pytest.mark.parametrize("factor", [np.nan, np.inf, -np.inf, 3.4e38])
def test_a_product_that_overflows_is_refused_and_warns_of_nothing(factor):
    _, bad = product_package(np.float32(factor).tobytes() + varint(0))
    with pytest.raises(PackageError, match="SHA-256"):
        restored(bad)


def test_a_package_of_another_file_is_refused():
    head = describe("a.bin", "other", 4, hashlib.sha256(b"abcd").digest())
    bad = assemble(head, [], [group(decode.METHOD_FLAT, raw(b"abce"))])
    with pytest.raises(PackageError, match="does not restore") as caught:
        restored(bad)
    assert hashlib.sha256(b"abcd").hexdigest() in caught.value.expected


# What runs below has its address space limited, and so gets a process of its own.
LIMITED = """
import hashlib, lzma, random, sys, warnings, zlib
warnings.simplefilter("error")
import brotli
import resource
from exporter.pack import Device, Options, encode
from exporter.pack.assemble import assemble, describe, seal
from exporter.pack.methods import CodedGroup
from exporter.pack.numbers import varint
from exporter.pack.streams import Coded, _brotli, _deflate, _lzma
from runtimes import coders, container, decode, untrusted
from runtimes.errors import PackageError

def limit(mib):
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    room = pages * resource.getpagesize() + (mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))

def refusal(data, **options):
    try:
        decode.restore(container.read(data, **options))
    except PackageError as error:
        return str(error)
    return ""
"""

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="NOT TESTED: memory limits are Linux's"
)


def run_limited(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + script, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"OPENBLAS_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


BOMBS = """
zeros = bytes(300 << 20)
stored = {
    coders.CODER_DEFLATE: _deflate(9, 0, 9)(zeros),
    coders.CODER_LZMA: _lzma(0, 0, 0, preset=1)(zeros),
    coders.CODER_BROTLI: brotli.compress(zeros, quality=5),
}
header = stored[coders.CODER_DEFLATE]
del zeros
limit(64)
for coder, content in stored.items():
    for size in (0, 1, 1000, 1 << 20):
        group = CodedGroup("other", 1, 0, size, (Coded(coder, size, content),))
        head = describe("a", "other", size, bytes(32))
        found = refusal(assemble(head, [], [group]))
        assert "declared size" in found, found
front = container.MAGIC + bytes([2, 1]) + varint(len(header)) + varint(1000) + header
found = refusal(front + zlib.crc32(front).to_bytes(4, "little"))
assert "declared size" in found, found
size = 900 << 20
stream = Coded(coders.CODER_LZMA, size, stored[coders.CODER_LZMA])
group = CodedGroup("other", 1, 0, size, (stream,))
found = refusal(assemble(describe("a", "other", size, bytes(32)), [], [group]))
assert "more memory than is free" in found, found
"""


@linux
def test_bombs_cost_no_more_than_what_they_declare():
    run_limited(BOMBS)


def test_the_oldest_python_and_numpy_restore_a_package(environment, tmp_path):
    python = environment("numpy-1.19", "numpy==1.19.5", versions=("3.9",))
    random = np.random.default_rng(0)
    floats = random.standard_normal(32).astype("<f4")
    sparse = (random.integers(-9, 9, 2000) * (random.random(2000) < 0.1)).astype(np.int8)
    integers = random.integers(-3000, 3000, 50).astype("<i4")
    product = methods.scaled(floats, np.float32(0.3))
    data = floats.tobytes() + integers.tobytes() + sparse.tobytes() + product.tobytes()
    (tmp_path / "a.ewp").write_bytes(mixed_package(data))
    done = subprocess.run(
        [python, "-W", "error", "-m", "runtimes.unpack", str(tmp_path / "a.ewp")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.bin").read_bytes() == data


def mixed_package(data):
    """Every method in one package: 32 floats, 50 integers, 2000 sparse bytes, and a product."""
    turned = np.frombuffer(data[328:2328], np.uint8).reshape(40, 50).T.tobytes()
    cut = {
        decode.METHOD_PLANES: (planes(Source("floats", 4, data[:128])), 4),
        decode.METHOD_ZIGZAG: (zigzag(Source("biases", 4, data[128:328])), 4),
        decode.METHOD_SPLIT: (gap_value(Source("weights", 1, turned)), 1),
        decode.METHOD_PRODUCT: ([np.float32(0.3).tobytes() + varint(0)], 4),
    }
    spans = [
        Span(0, 128, (32,), (0,), 1),
        Span(128, 200, (50,), (0,), 2),
        Span(328, 2000, (40, 50), (1, 0), 3),
        Span(2328, 128, (32,), (0,), 4),
    ]
    groups = [
        group(method, *map(squeeze, streams), item_bytes=item_bytes)
        for method, (streams, item_bytes) in cut.items()
    ]
    return package(data, spans, *groups)
