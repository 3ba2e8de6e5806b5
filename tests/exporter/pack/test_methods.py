from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporter.pack.assemble import assemble, describe
from exporter.pack.methods import (
    SPLITTERS,
    CodedGroup,
    Source,
    code_group,
    gap_value,
    splitter,
)
from exporter.pack.streams import (
    ORDINARY,
    PORTABLE,
    SAMPLE_BYTES,
    Coded,
    Device,
    _promising,
    _settings,
    squeeze,
)
from runtimes import coders, container, decode
from runtimes.container import Span


def through_the_reader(content, coded):
    """What the reader makes of a group that is alone in its package."""
    span = Span(0, len(content), (len(content) // coded.item_bytes,), (0,), 1)
    head = describe("a.bin", "other", len(content), hashlib.sha256(content).digest())
    empty = CodedGroup("skeleton", 1, decode.METHOD_FLAT, 0, (Coded(coders.CODER_RAW, 0, b""),))
    return bytes(decode.restore(container.read(assemble(head, [span], [empty, coded]))))


def raw(content):
    return Coded(coders.CODER_RAW, len(content), content)


sparse = st.integers(1, 2000).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 255), fill=st.just(0))
)


@given(content=sparse)
@settings(max_examples=200, deadline=None)
def test_gaps_and_values_round_trip(content):
    streams = gap_value(Source("weights", 1, content.tobytes()))
    if streams is None:
        assert 2 * np.count_nonzero(content) > content.size
        return
    coded = CodedGroup("weights", 1, decode.METHOD_SPLIT, content.size, tuple(map(raw, streams)))
    assert through_the_reader(content.tobytes(), coded) == content.tobytes()


@pytest.mark.parametrize("gap", [0, 1, 254, 255, 256, 509, 510, 511, 1000])
def test_gaps_around_the_escape_round_trip(gap):
    content = np.zeros(1200, np.uint8)
    content[gap] = 7
    streams = gap_value(Source("weights", 1, content.tobytes()))
    coded = CodedGroup("weights", 1, decode.METHOD_SPLIT, 1200, tuple(map(raw, streams)))
    assert through_the_reader(content.tobytes(), coded) == content.tobytes()


@pytest.mark.parametrize("number", [decode.METHOD_PLANES, decode.METHOD_ZIGZAG])
@given(content=arrays(np.dtype("<i4"), st.integers(1, 50)))
@settings(max_examples=100, deadline=None)
def test_planes_round_trip(number, content):
    streams = SPLITTERS[number][1](Source("biases", 4, content.tobytes()))
    coded = CodedGroup("biases", 4, number, content.nbytes, tuple(map(raw, streams)))
    assert through_the_reader(content.tobytes(), coded) == content.tobytes()


@pytest.mark.parametrize("kind", ["weights", "biases", "floats"])
@pytest.mark.parametrize("device", [ORDINARY, PORTABLE, Device(brotli=True)])
@given(content=st.binary(min_size=1, max_size=100))
@settings(max_examples=20, deadline=None)
def test_any_group_round_trips(kind, device, content):
    item_bytes = 1 if kind == "weights" else 4
    coded = code_group(Source(kind, item_bytes, content * item_bytes), device)
    assert through_the_reader(content * item_bytes, coded) == content * item_bytes


@pytest.mark.parametrize(
    ("content", "method"),
    [
        (bytes(1000), {decode.METHOD_FLAT, decode.METHOD_SPLIT}),
        (np.random.default_rng(0).bytes(1000), {decode.METHOD_FLAT}),
    ],
)
def test_one_symbol_and_none_but_noise(content, method):
    coded = code_group(Source("weights", 1, content), ORDINARY)
    assert coded.method in method
    assert coded.stored_bytes <= len(content)


def test_a_stream_never_grows():
    noise = np.random.default_rng(0).bytes(5000)
    assert squeeze(noise) == Coded(coders.CODER_RAW, 5000, noise)
    assert squeeze(b"") == Coded(coders.CODER_RAW, 0, b"")
    assert squeeze(bytes(5000)) == Coded(coders.CODER_ZEROS, 5000, b"")


def test_brotli_is_only_used_where_it_is_allowed():
    text = b"Pruned networks are mostly zeros. Brotli knows the words of the web by heart."
    assert squeeze(text, Device(brotli=True)).coder == coders.CODER_BROTLI
    assert squeeze(text).coder != coders.CODER_BROTLI


def test_settings_for_a_large_stream_are_chosen_on_a_sample():
    large = (np.random.default_rng(0).integers(0, 9, 2 * SAMPLE_BYTES)).astype(np.uint8).tobytes()
    every = list(_settings(ORDINARY))
    assert _promising(large[:SAMPLE_BYTES], every) == every
    chosen = _promising(large, every)
    assert 1 <= len(chosen) <= 2
    coded = squeeze(large)
    assert coders.CODERS[coded.coder].decode(memoryview(coded.stored), len(large)) == large


def test_every_method_that_cuts_a_group_into_streams_has_a_splitter():
    others = {
        decode.METHOD_PRODUCT,
        decode.METHOD_COPY,
        decode.METHOD_CLASSES,
        decode.METHOD_MOVED,
        decode.METHOD_PATCH,
    }
    assert set(SPLITTERS) == set(decode.METHOD_NAMES) - others


def test_a_method_has_one_splitter():
    with pytest.raises(ValueError, match="already"):
        splitter(decode.METHOD_FLAT)(gap_value)
