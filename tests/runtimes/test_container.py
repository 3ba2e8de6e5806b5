from __future__ import annotations

import ast
import hashlib
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.pack.assemble import (
    assemble,
    describe,
    order_number,
    seal,
    simplified,
)
from exporter.pack.methods import CodedGroup
from exporter.pack.numbers import varint
from exporter.pack.reader import MODULES
from exporter.pack.streams import Coded
from runtimes import coders, container, decode
from runtimes.container import Section, Span
from runtimes.errors import PackageError
from runtimes.untrusted import Cursor

DATA = bytes(range(64))
SHA256 = hashlib.sha256(DATA).digest()
SPANS = (Span(4, 24, (2, 3, 4), (0, 2, 1), 1), Span(40, 8, (8,), (0,), 1))
SKELETON = DATA[:4] + DATA[28:40] + DATA[48:]
# [2, 3, 4] stored, coded as [2, 4, 3].
CODED_SPAN = bytes(4 + 12 * a + 4 * b + c for a in range(2) for c in range(4) for b in range(3))


def raw_group(content, method=decode.METHOD_FLAT, item_bytes=1):
    stream = Coded(coders.CODER_RAW, len(content), content)
    return CodedGroup("weights", item_bytes, method, len(content), (stream,))


def package(spans=SPANS, sections=(), name="model.bin"):
    groups = [raw_group(SKELETON), raw_group(CODED_SPAN + DATA[40:48])]
    return assemble(describe(name, "other", len(DATA), SHA256), spans, groups, sections)


def restored(data):
    return bytes(decode.restore(container.read(data)))


class Header:
    """A header field by field, so that a test can lie in one of them. Its file is 8 bytes long."""

    def __init__(self):
        self.payload = b"12345678"
        self.name = varint(1) + b"a"
        self.format = b"\0"
        self.size = varint(8)
        self.sha256 = hashlib.sha256(self.payload).digest()
        self.groups = varint(2) + bytes([2, 1, 0, 1, 0, 4, 4]) + bytes([2, 1, 0, 1, 0, 4, 4])
        self.spans = varint(1) + bytes([1, 4, 1, 0, 4])
        self.sections = varint(0)

    def package(self):
        crc = zlib.crc32(self.payload).to_bytes(4, "little")
        identity = self.name + self.format + self.size + self.sha256 + crc
        return seal(identity + self.groups + self.spans + self.sections) + self.payload


def test_reads_what_was_written():
    parsed = container.read(package())
    assert (parsed.name, parsed.format, parsed.size_bytes) == ("model.bin", "other", 64)
    assert parsed.sha256 == SHA256
    assert parsed.spans == SPANS
    assert [group.size_bytes for group in parsed.groups] == [32, 32]
    assert [group.stored_bytes for group in parsed.groups] == [32, 32]
    assert parsed.package_bytes == len(package()) == parsed.header_bytes + 64
    assert restored(package()) == DATA


def test_the_honest_header_of_these_tests_is_accepted():
    assert restored(Header().package()) == b"12345678"


def test_every_flipped_bit_is_refused():
    whole = package()
    for place in range(8 * len(whole)):
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(PackageError) as caught:
            restored(bytes(altered))
        assert caught.value.remedy
        assert caught.value.expected or caught.value.found


@pytest.mark.parametrize("length", range(len(package())))
def test_a_package_cut_short_is_refused(length):
    with pytest.raises(PackageError):
        container.read(package()[:length])


def test_a_package_with_more_behind_it_is_refused():
    with pytest.raises(PackageError, match="payload is altered"):
        container.read(package() + b"\0")


def test_a_stored_header_reads_like_a_deflated_one():
    header = b"".join(varint(number) for number in range(40))
    for content in (header, bytes(200)):
        front = seal(content)
        cursor = Cursor(memoryview(front), "package")
        assert container._read_preamble(cursor, memoryview(front)) == content
        assert cursor.left() == 0
    assert seal(header)[5] == 0
    assert seal(bytes(200))[5] == container.FLAG_DEFLATED_HEADER


def test_another_version_names_both():
    data = bytearray(package())
    data[4] = 9
    with pytest.raises(PackageError, match="version 9") as caught:
        container.read(bytes(data))
    assert caught.value.expected == "version 2"
    assert "update" in caught.value.remedy


@pytest.mark.parametrize("flag", [4, 8, 128])
def test_a_flag_that_this_reader_lacks_is_refused(flag):
    front = container.MAGIC + bytes([2, flag]) + varint(0) + varint(0)
    with pytest.raises(PackageError, match="lacks") as caught:
        container.read(front + zlib.crc32(front).to_bytes(4, "little"))
    assert f"{flag:#04x}" in caught.value.found
    assert "update" in caught.value.remedy


def test_a_file_that_is_no_package_says_so():
    with pytest.raises(PackageError, match=r"no \.ewp package"):
        container.read(b"TFL3 and so on")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "c:a", "a\0b", "a\nb", "x" * 256, "a\u202eb"],
)
def test_a_path_as_the_originals_name_is_refused(name):
    with pytest.raises(PackageError, match="name is refused"):
        container.read(package(name=name))


@pytest.mark.parametrize("name", ["a", "model.int8.tflite", "modèle 1.onnx", "x" * 255])
def test_a_plain_name_is_kept(name):
    assert container.read(package(name=name)).name == name


def test_a_name_that_is_no_utf8_is_refused():
    header = Header()
    header.name = varint(2) + b"\xff\xfe"
    with pytest.raises(PackageError, match="no UTF-8"):
        container.read(header.package())


LIES = {
    "name longer than the header": ("name", varint(10**6) + b"a", "ends too early"),
    "unknown format": ("format", b"\x04", "format is unknown"),
    "number of ten bytes": ("size", b"\xff" * 9 + b"\x01", "overlong"),
    "number with a needless byte": ("size", b"\x88\x00", "overlong"),
    "original over the ceiling": ("size", varint(1 << 31), "larger than this reader"),
    "no group": ("groups", varint(0), "no skeleton"),
    "more groups than fit": ("groups", varint(1 << 40), "more than it can hold"),
    "more streams than fit": (
        "groups",
        varint(1) + bytes([2, 1, 0]) + varint(1 << 40),
        "more than it can hold",
    ),
    "impossible item size": (
        "groups",
        varint(2) + bytes([2, 1, 0, 1, 0, 4, 4]) + bytes([2, 3, 0, 1, 0, 4, 4]),
        "impossible size",
    ),
    "stream longer than the payload": (
        "groups",
        varint(2) + bytes([2, 1, 0, 1, 0, 4, 4]) + bytes([2, 1, 0, 1, 0, 5, 5]),
        "payload ends too early",
    ),
    "payload longer than the streams": (
        "groups",
        varint(2) + bytes([2, 1, 0, 1, 0, 4, 4]) + bytes([2, 1, 0, 1, 0, 3, 3]),
        "longer than its streams",
    ),
    "more spans than fit": ("spans", varint(1 << 40), "more than it can hold"),
    "span in the skeleton": ("spans", varint(1) + bytes([0, 4, 1, 0, 4]), "no group"),
    "span in a group that is not there": ("spans", varint(1) + bytes([2, 4, 1, 0, 4]), "no group"),
    "span beyond the file": ("spans", varint(1) + bytes([1, 5, 1, 0, 4]), "outside the original"),
    "span that would wrap around": (
        "spans",
        varint(1) + bytes([1]) + varint((1 << 63) - 4) + bytes([1, 0, 4]),
        "outside the original",
    ),
    "second span beyond the file": (
        "spans",
        varint(2) + bytes([1, 1, 0, 6, 1, 1, 0, 0, 4, 4]),
        "outside the original",
    ),
    "span whose shape is beyond all memory": (
        "spans",
        varint(1) + bytes([1, 0, 8, 0]) + varint((1 << 63) - 1) * 8,
        "outside the original",
    ),
    "empty span": ("spans", varint(1) + bytes([1, 4, 1, 0, 0]), "empty"),
    "span without axes": ("spans", varint(1) + bytes([1, 4, 0, 0, 0]), "axis order"),
    "span of nine axes": ("spans", varint(1) + bytes([1, 4, 9, 0]) + b"\1" * 9, "axis order"),
    "order that is none": ("spans", varint(1) + bytes([1, 4, 1, 1, 4]), "axis order"),
    "section cut off": ("sections", varint(1) + bytes([2, 9]), "ends too early"),
    "bytes behind the header": ("sections", varint(0) + b"\0", "holds more"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(lie):
    field, content, message = LIES[lie]
    header = Header()
    setattr(header, field, content)
    with pytest.raises(PackageError, match=message):
        container.read(header.package())


def test_spans_cannot_overlap():
    """The gap between spans is unsigned, so the second of two starts where the first ends."""
    header = Header()
    header.spans = varint(2) + bytes([1, 1, 2, 0, 1, 1, 0, 0, 2, 2])
    first, second = container.read(header.package()).spans
    assert first.offset + first.size_bytes == second.offset


def test_the_ceiling_is_the_callers():
    container.read(package(), ceiling_bytes=64)
    with pytest.raises(PackageError, match="larger than this reader") as caught:
        container.read(package(), ceiling_bytes=63)
    assert "63" in caught.value.expected


def test_a_header_that_declares_too_much_is_not_inflated():
    front = container.MAGIC + bytes([2, 1]) + varint(10) + varint(container.MAX_HEADER_BYTES + 1)
    with pytest.raises(PackageError, match="too large"):
        container.read(front + bytes(100))


@pytest.mark.parametrize("declared", [0, 99, 101])
def test_a_header_of_another_size_than_declared_is_refused(declared):
    stored = zlib.compress(bytes(100), 9)[2:-4]
    front = container.MAGIC + bytes([2, 1]) + varint(len(stored)) + varint(declared) + stored
    with pytest.raises(PackageError, match="declared size"):
        container.read(front + zlib.crc32(front).to_bytes(4, "little"))


def test_a_section_that_may_be_skipped_is_kept():
    parsed = container.read(package(sections=[Section(4, b"whatever")]))
    assert parsed.sections == (Section(4, b"whatever"),)
    assert (parsed.base, parsed.release, parsed.signed) == (None, None, False)


def test_a_section_that_must_be_understood_is_refused():
    with pytest.raises(PackageError, match="section 3") as caught:
        container.read(package(sections=[Section(3, b"what")]))
    assert "update" in caught.value.remedy


@given(st.integers(0, (1 << 63) - 1))
def test_numbers_round_trip(number):
    cursor = Cursor(memoryview(varint(number)), "test")
    assert cursor.varint() == number
    assert cursor.left() == 0


@given(st.integers(1, 6).flatmap(lambda rank: st.permutations(range(rank))))
def test_axis_orders_round_trip(order):
    assert container._order(order_number(tuple(order)), len(order)) == tuple(order)


@given(st.integers(1, 5).flatmap(lambda rank: st.permutations(range(rank))), st.data())
def test_a_simplified_order_means_the_same(order, data):
    import numpy as np

    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=len(order), max_size=len(order))))
    array = np.arange(np.prod(shape)).reshape(shape)
    less_shape, less_order = simplified(shape, tuple(order))
    expected = array.transpose(order).ravel()
    assert (array.reshape(less_shape).transpose(less_order).ravel() == expected).all()
    assert len(less_shape) <= len(shape)


@pytest.mark.parametrize(
    ("shape", "order", "expected"),
    [
        ((8, 3, 3, 4), (0, 3, 1, 2), ((8, 9, 4), (0, 2, 1))),
        ((1, 3, 3, 4), (3, 0, 1, 2), ((9, 4), (1, 0))),
        ((8, 1, 1, 4), (0, 3, 1, 2), ((32,), (0,))),
        ((10, 64), (0, 1), ((640,), (0,))),
        ((1,), (0,), ((1,), (0,))),
    ],
)
def test_convolution_weights_need_few_axes(shape, order, expected):
    assert simplified(shape, order) == expected


@pytest.mark.parametrize("module", MODULES)
def test_the_reader_is_written_in_the_grammar_of_python_3_9(module):
    source = Path(container.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 9))


@pytest.mark.parametrize("numbers", [[], [0, 127, 5], [3, 128, 1 << 40, 0]])
def test_many_numbers_are_read_as_one_by_one(numbers):
    cursor = Cursor(memoryview(b"".join(map(varint, numbers)) + b"\x07"), "test")
    assert cursor.varints(len(numbers)) == numbers
    assert cursor.left() == 1


@pytest.mark.parametrize("content", [b"\x01\x02", b"\x01\x02\x80", b"\x01\x02\x80\x00"])
def test_many_numbers_that_are_cut_off_or_overlong_are_refused(content):
    with pytest.raises(PackageError):
        Cursor(memoryview(content), "test").varints(3)
