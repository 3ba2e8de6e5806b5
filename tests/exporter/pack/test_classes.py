from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack import classes as coding
from exporter.pack import clusters
from exporter.pack.assemble import assemble, describe
from exporter.pack.classes import code_matrices, estimated_bytes, magnitudes_of
from exporter.pack.clusters import cluster, entropy_bits, histograms_of
from exporter.pack.methods import CodedGroup
from exporter.pack.streams import ORDINARY, raw
from runtimes import container, decode, matrices
from runtimes.container import Span


def through_the_reader(matrices):
    """What the reader makes of matrices that are alone in a package, one behind the other."""
    streams = code_matrices(matrices, ORDINARY)
    content = b"".join(matrix.tobytes() for matrix in matrices)
    spans, at = [], 0
    for matrix in matrices:
        spans.append(Span(at, matrix.size, matrix.shape, (0, 1), 1))
        at += matrix.size
    head = describe("a.bin", "other", len(content), hashlib.sha256(content).digest())
    groups = [
        CodedGroup("skeleton", 1, decode.METHOD_FLAT, 0, (raw(b""),)),
        CodedGroup("weights", 1, decode.METHOD_CLASSES, len(content), streams),
    ]
    return bytes(decode.restore(container.read(assemble(head, spans, groups)))) == content


def weights(rows, columns, *, live=1.0, spread=30.0, seed=0):
    random = np.random.default_rng(seed)
    values = np.clip(np.rint(random.laplace(0, spread, (rows, columns))), -127, 127)
    return (values * (random.random((rows, columns)) < live)).astype(np.int8).view(np.uint8)


CASES = {
    "pruned": [weights(64, 144, live=0.1), weights(32, 64, live=0.1)],
    "dense": [weights(32, 144)],
    "sparse beside dense": [weights(64, 72, live=0.05), weights(16, 27)],
    "few levels": [weights(64, 144, live=0.1, spread=1.5)],
    "all zero": [np.zeros((16, 64), np.uint8)],
    "a zero row": [np.concatenate((np.zeros((5, 64), np.uint8), weights(20, 64, live=0.2)))],
    "one symbol": [np.full((16, 64), 7, np.uint8)],
    "-128": [np.full((16, 64), 128, np.uint8)],
    "every byte": [np.arange(256, dtype=np.uint8).reshape(8, 32)],
    "noise": [np.random.default_rng(0).integers(0, 256, (16, 64), np.uint8)],
    "unsigned around 128": [weights(32, 64, spread=5.0) + np.uint8(128)],
    "one row": [weights(1, 500, live=0.3)],
    "one item": [np.array([[5]], np.uint8)],
    "two to four": [np.tile(np.array([[3, 0, 0, 250], [0, 9, 0, 77]], np.uint8), (32, 32))],
    "columns of two kinds": [
        np.concatenate((weights(256, 64, live=0.02), weights(256, 64, live=0.6)), axis=1)
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_matrices_round_trip(case):
    assert through_the_reader(CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_blocks_of_any_size_are_alike(case, monkeypatch):
    """What is expanded at a time is the reader's own affair."""
    monkeypatch.setattr(matrices, "BLOCK_ITEMS", 100)
    assert through_the_reader(CASES[case])


@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(16, 80)), min_size=1, max_size=4),
    live=st.sampled_from((0.0, 0.02, 0.1, 0.5, 1.0)),
    spread=st.sampled_from((0.5, 3.0, 30.0, 300.0)),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_any_weights_round_trip(shapes, live, spread, seed):
    matrices = [
        weights(*shape, live=live, spread=spread, seed=seed + place)
        for place, shape in enumerate(shapes)
    ]
    assert through_the_reader(matrices)


def stored(matrices):
    return sum(len(stream.stored) for stream in code_matrices(matrices, ORDINARY))


def test_rows_of_unlike_weights_take_less_than_their_common_entropy():
    """Rows with few large weights between rows with many small ones. Measured: 6.4 % less."""
    few = weights(256, 256, live=0.05, spread=60.0)
    many = weights(256, 256, live=0.3, spread=6.0, seed=1)
    matrix = np.random.default_rng(0).permutation(np.concatenate((few, many)))
    order_0 = entropy_bits(np.bincount(matrix.reshape(-1), minlength=256)) / 8
    assert stored([matrix]) < 0.95 * order_0


def test_patterns_of_neighbours_are_learnt():
    """Two weights of four kept: a mask has 36 patterns of 256, and its own table says so."""
    random = np.random.default_rng(0)
    kept = np.argsort(random.random((256, 64, 4)), axis=2) < 2
    matrix = (kept.reshape(256, 256) * weights(256, 256, spread=1000.0)).astype(np.uint8)
    values = np.count_nonzero(matrix)
    mask_bits = (
        8 * stored([matrix]) - values * entropy_bits(np.bincount(matrix[matrix > 0])) / values
    )
    assert mask_bits / (matrix.size / 8) < 5.8  # log2(36) = 5.17; independent items need 8


def test_columns_get_classes_where_they_differ():
    """Half the columns are nearly empty, in no order."""
    random = np.random.default_rng(0)
    live = np.where(random.random(512) < 0.5, 0.01, 0.3)
    matrix = (weights(512, 512, spread=40.0) * (random.random((512, 512)) < live)).astype(np.uint8)
    plan = code_matrices([matrix], ORDINARY)[0]
    assert coding.split_columns(magnitudes_of(matrix, 0), np.zeros(512, np.uint8)) is not None
    assert plan.size_bytes > 0
    assert through_the_reader([matrix])
    shuffled = random.permutation(matrix.reshape(-1)).reshape(512, 512)
    assert stored([matrix]) < 0.96 * stored([shuffled])


def test_a_class_must_save_what_it_costs_the_reader(monkeypatch):
    """Rows of slowly growing spread: many classes save a few bytes each."""
    rows = [weights(1, 600, live=0.2, spread=20 + 0.2 * row, seed=row) for row in range(160)]
    histograms = histograms_of([magnitudes_of(np.concatenate(rows), 0)], 129)
    owners = np.zeros(160, np.int64)
    few = cluster(histograms, owners)
    monkeypatch.setattr(clusters, "READER_BITS", 0)
    many = cluster(histograms, owners)
    assert few.count < many.count
    assert many.bits < few.bits < many.bits + 32 * 8 * (many.count - few.count)


def test_the_estimate_is_near():
    for case in ("pruned", "dense", "sparse beside dense"):
        taken = stored(CASES[case])
        assert 0.85 * taken < estimated_bytes(CASES[case]) < 1.25 * taken


def test_too_many_rows_are_not_for_classes():
    assert estimated_bytes([np.zeros((5000, 8), np.uint8)]) == float("inf")


def test_magnitudes_are_distances_from_the_center():
    items = np.array([0, 1, 127, 128, 129, 255], np.uint8)
    assert magnitudes_of(items, 0).tolist() == [0, 1, 127, 128, 127, 1]
    assert magnitudes_of(items, 128).tolist() == [128, 127, 1, 0, 1, 127]
