from __future__ import annotations

import mmap
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from runtimes.memory import MemoryMeter, parse_kib

STATUS = "Name:\tpython\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n"

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="Linux's /proc is not here"
)


@pytest.mark.parametrize(
    ("key", "expected"), [("VmHWM", 20_971_520), ("VmRSS", 10_485_760), ("VmPeak", None)]
)
def test_parse_kib(key, expected):
    assert parse_kib(STATUS, key) == expected


@pytest.mark.parametrize("line", ["VmRSS:\tmany kB", "VmRSS:\t5 MB", "VmRSS:", "VmRSS"])
def test_parse_kib_takes_nothing_odd(line):
    assert parse_kib(line, "VmRSS") is None


def fake_proc(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return MemoryMeter(tmp_path)


def test_reads_both_figures_and_the_share(tmp_path):
    meter = fake_proc(tmp_path, status=STATUS, smaps_rollup="Rss: 9 kB\nPss: 7 kB\n")
    meter.reset_peak()
    memory = meter.read()
    assert (memory.resident_bytes, memory.peak_bytes) == (10_485_760, 20_971_520)
    assert meter.pss_bytes() == 7168
    assert meter.notes == []
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_a_peak_that_cannot_be_reset_is_noted_once(tmp_path):
    meter = MemoryMeter(tmp_path / "missing")
    meter.reset_peak()
    meter.reset_peak()
    assert meter.notes == ["the memory peak cannot be reset here: inference's includes loading's"]


@pytest.mark.parametrize(
    ("platform", "expected"), [("darwin", 5000), ("freebsd14", 5_120_000)], ids=["macOS", "BSD"]
)
def test_without_proc_getrusage_stands_in(tmp_path, monkeypatch, platform, expected):
    usage = types.SimpleNamespace(ru_maxrss=5000)
    fake = types.SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _who: usage)
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(sys, "platform", platform)
    meter = MemoryMeter(tmp_path)
    memory = meter.read()
    assert (memory.resident_bytes, memory.peak_bytes) == (expected, expected)
    assert meter.pss_bytes() is None
    assert "getrusage" in meter.notes[0]


def test_with_neither_memory_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    meter = MemoryMeter(tmp_path)
    assert meter.read().resident_bytes == 0
    assert "unknown" in meter.notes[0]


@needs_proc
def test_the_peak_follows_an_allocation_and_the_reset():
    meter, size = MemoryMeter(), 64 << 20
    meter.reset_peak()
    before = meter.read()
    block = mmap.mmap(-1, size)
    np.frombuffer(block, np.uint8)[:] = 1
    during = meter.read()
    block.close()
    after = meter.read()
    meter.reset_peak()
    fresh = meter.read()
    slack = 8 << 20
    assert during.resident_bytes - before.resident_bytes == pytest.approx(size, abs=slack)
    assert after.peak_bytes - before.resident_bytes == pytest.approx(size, abs=slack)
    assert after.resident_bytes - before.resident_bytes == pytest.approx(0, abs=slack)
    assert fresh.peak_bytes - before.resident_bytes == pytest.approx(0, abs=slack)
    assert 0 < meter.pss_bytes() <= during.peak_bytes
