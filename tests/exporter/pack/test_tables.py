from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.pack import huffman, rans
from exporter.pack.clusters import entropy_bits
from exporter.pack.tables import histogram, slots_of
from runtimes import coders
from runtimes.errors import PackageError
from runtimes.huffman import decoding_table
from runtimes.rans import SLOTS, frequencies, read_weights, slot_tables, weight_of
from runtimes.untrusted import Cursor

counts = st.lists(
    st.one_of(st.just(0), st.integers(1, 9), st.integers(1, 1 << 20)), min_size=2, max_size=256
).filter(lambda one: sum(count > 0 for count in one) >= 2)


@given(counts)
def test_every_symbol_that_occurs_gets_slots(found):
    slots = slots_of(histogram(np.array(found)), len(found))
    assert slots.sum() == SLOTS
    assert (slots[: len(found)][np.array(found) > 0] > 0).all()


@given(counts)
def test_a_decoders_table_inverts_the_frequencies(found):
    slots = slots_of(histogram(np.array(found)), len(found))
    table = slot_tables(slots[None])
    starts = np.cumsum(slots) - slots
    symbols = table >> 12 & 0xFF
    assert (np.bincount(symbols, minlength=256) == slots).all()
    assert ((table & 0xFFF) == slots[symbols]).all()
    assert ((table >> 20) == np.arange(SLOTS) - starts[symbols]).all()


def test_a_few_runs_describe_a_smooth_distribution():
    sizes = np.arange(129)
    found = np.round(1e3 * np.exp(-sizes / 20)).astype(int)
    table = histogram(found)
    assert len(table) < 60
    bits = rans.code_bits(found, slots_of(table, 129)[:129])
    assert bits < 1.02 * entropy_bits(found)


def test_weights_are_eighths_of_octaves():
    for code in range(1, 129):
        assert math.isclose(weight_of(code), 2 ** (8 + (code - 1) / 8), rel_tol=0.004)


@pytest.mark.parametrize(
    "weights", [[], [5], [1 << 40, 1], [1] * 256, [1 << 30] * 3 + [1] * 253, [3, 5, 7]]
)
def test_frequencies_add_up(weights):
    padded = np.zeros((1, 256), np.int64)
    padded[0, : len(weights)] = weights
    if len(weights) < 2:
        with pytest.raises(PackageError, match="fewer than two"):
            frequencies(padded)
        return
    (slots,) = frequencies(padded)
    assert slots.sum() == SLOTS
    assert ((slots > 0) == (padded[0] > 0)).all()
    assert slots.max() < SLOTS


@pytest.mark.parametrize(
    "table", [b"", b"\x05", bytes([255, 1]), bytes([128, 129]), bytes([100, 1, 100, 1])]
)
def test_a_table_that_does_not_fit_its_symbols_is_refused(table):
    with pytest.raises(PackageError):
        read_weights(Cursor(memoryview(table), "table"), 129)


@given(counts)
def test_code_lengths_fill_the_code(found):
    padded = np.zeros(256, np.int64)
    padded[: len(found)] = found
    lengths = huffman.code_lengths(padded)
    assert ((lengths > 0) == (padded > 0)).all()
    assert decoding_table(lengths.astype(np.uint8)).size == 4096
    # Huffman's bound, but for the few codes that 12 bits cut short.
    assert (padded * lengths).sum() <= 1.1 * entropy_bits(padded) + padded.sum()


@pytest.mark.parametrize("lengths", [[], [1], [1, 1, 1], [1, 2], [13, 13], [2, 2, 2]])
def test_lengths_of_no_complete_code_are_refused(lengths):
    with pytest.raises(PackageError, match="no complete code"):
        decoding_table(np.array(lengths, np.uint8))


@pytest.mark.parametrize("coder", [coders.CODER_HUFFMAN, coders.CODER_RANS])
@pytest.mark.parametrize("size", [2, 255, 5000, 70_000])
@pytest.mark.parametrize("symbols", [1, 2, 17, 256])
def test_streams_round_trip(coder, size, symbols):
    encode = {coders.CODER_HUFFMAN: huffman.encode_stream, coders.CODER_RANS: rans.encode_stream}
    random = np.random.default_rng(0)
    content = (random.geometric(0.2, size) % symbols).astype(np.uint8).tobytes()
    stored = encode[coder](content)
    assert coders.CODERS[coder].decode(memoryview(stored), size) == content


@pytest.mark.parametrize(
    ("encode", "over"), [(rans.encode_stream, 1.02), (huffman.encode_stream, 1.03)]
)
def test_streams_come_near_their_entropy(encode, over):
    content = np.random.default_rng(0).geometric(0.1, 200_000).clip(0, 255).astype(np.uint8)
    order_0 = entropy_bits(np.bincount(content)) / 8
    assert order_0 < len(encode(content.tobytes())) < over * order_0 + 200


def test_the_table_of_a_huffman_stream_is_in_the_stream():
    """Canonical: lengths alone. Two symbols of one bit each, eight items in one lane."""
    assert huffman.encode_stream(b"\0\1\1\0\0\0\0\1") == bytes([0, 1, 0x11, 1, 0, 0b10000110])


@pytest.mark.parametrize(
    ("coded_bytes", "symbols", "bits"),
    [
        (100, 400, 0),
        (37_000, 40_000, 9),  # 64 bytes for each lane, as a step costs more than the lane
        (60_000, 60_000, 10),
        (100_000, 100_000, 10),
        (300_000, 300_000, 11),  # 128 bytes for each lane
        (3_000_000, 6_000_000, 12),  # beyond, more lanes take bytes and save little time
        (3_000_000, 1 << 27, 13),  # a lane may take 2**14 steps
    ],
)
def test_lanes_are_worth_their_bytes(coded_bytes, symbols, bits):
    assert rans.lane_bits_for(coded_bytes, symbols) == bits
