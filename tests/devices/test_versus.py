from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.session import Session
from devices.versus import LEAST_ROUNDS, bench_in_turns, median_interval, merged


@pytest.mark.parametrize(
    ("count", "ranks"),
    # Conover, Practical Nonparametric Statistics, table A3 (binomial, p = 1/2).
    [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15))],
)
def test_the_bounds_are_order_statistics(count, ranks):
    values = [float(value) for value in range(1, count + 1)]
    median, low, high = median_interval(values[::-1])
    assert median == (count + 1) / 2
    assert (low, high) == ranks


@pytest.mark.parametrize("count", [6, 10, 15])
def test_the_bounds_hold_95_percent_or_more(count):
    """Exactly: each value is below the true median with probability 1/2."""
    _, low, _ = median_interval(list(map(float, range(1, count + 1))))
    outside = sum(math.comb(count, k) for k in range(int(low))) * 2 / 2**count
    assert outside <= 0.05
    nearer = outside + 2 * math.comb(count, int(low)) / 2**count
    assert nearer > 0.05


@given(st.lists(st.floats(0.01, 100), min_size=LEAST_ROUNDS, max_size=40))
def test_the_median_lies_between_the_bounds(values):
    median, low, high = median_interval(values)
    assert min(values) <= low <= median <= high <= max(values)


def test_too_few_rounds_are_refused(session, models):
    with pytest.raises(ValueError, match="5 values"):
        median_interval([1.0] * 5)
    with pytest.raises(ValueError, match="5 rounds"):
        bench_in_turns(session, models.int8_tflite, [], rounds=5)


def test_files_take_turns(session, models, monkeypatch):
    """In order A B B A; that each is a fresh process, `test_session.py` has."""
    order, asked = [], []
    canned = {
        path: session.bench(path, seconds=0.01, min_runs=5)
        for path in (models.int8_tflite, models.int8_onnx)
    }

    def bench(_self, path, **options):
        order.append(path)
        asked.append(options)
        row = dataclasses.replace(canned[path].row, p50_ms=1 + len(order) ** 1.5)
        return dataclasses.replace(
            canned[path], report=dataclasses.replace(canned[path].report, row=row)
        )

    monkeypatch.setattr(Session, "bench", bench)
    seen = []
    found = bench_in_turns(
        session,
        models.int8_tflite,
        [models.int8_onnx],
        seconds=0.06,
        rounds=6,
        progress=lambda path, row: seen.append((path, row.p50_ms)),
    )
    pair = [models.int8_tflite, models.int8_onnx]
    assert order == [path for path, _ in seen] == (pair + pair[::-1]) * 3
    base, other = (one.row for one in found.benched)
    assert (base.rounds, other.rounds) == (6, 6)
    assert len(base.samples_ms) == 6 * len(canned[models.int8_tflite].row.samples_ms)
    assert {options["seconds"] for options in asked} == {0.06 / 6}
    (ratio,) = found.ratios
    own = [[p50 for path, p50 in seen if path == one] for one in pair]
    ratios = [new / old for old, new in zip(*own, strict=True)]
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx(median_interval(ratios))
    assert (ratio.artifact, ratio.baseline) == ("tiny.int8.onnx", "tiny.int8.tflite")


def test_merging_keeps_every_sample_and_the_highest_peak(session, models):
    turns = [session.bench(models.int8_tflite, seconds=0, min_runs=4) for _ in range(2)]
    row = merged(turns).row
    rows = [turn.row for turn in turns]
    assert row.samples_ms == tuple(itertools.chain(*(one.samples_ms for one in rows)))
    assert row.peak_inference_bytes == max(one.peak_inference_bytes for one in rows)
    assert row.warmup_runs == sum(one.warmup_runs for one in rows)
    assert row.valid == all(one.valid for one in rows)


def test_merging_keeps_each_reason_with_its_remedy(session, models):
    turn = session.bench(models.int8_tflite, seconds=0, min_runs=4)
    problems = [
        (("1.7 cores are busy",), ("wait",)),
        (("1.9 cores are busy", "it is hot"), ("wait", "cool it")),
        (("1.7 cores are busy",), ("wait",)),
    ]
    turns = []
    for reasons, remedies in problems:
        row = dataclasses.replace(turn.row, valid=False, reasons=reasons, remedies=remedies)
        report = dataclasses.replace(turn.report, row=row)
        turns.append(dataclasses.replace(turn, report=report))
    row = merged(turns).row
    assert row.reasons == ("1.7 cores are busy", "1.9 cores are busy", "it is hot")
    assert row.remedies == ("wait", "wait", "cool it")
