from __future__ import annotations

import os

import pytest

from runtimes import watch
from runtimes.report import StateSample
from runtimes.watch import Watch, allowed_cpus


def write_sys(root, clocks_khz=(), millidegrees=()):
    for core, khz in enumerate(clocks_khz):
        folder = root / f"devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    for zone, value in enumerate(millidegrees):
        folder = root / f"class/thermal/thermal_zone{zone}"
        folder.mkdir(parents=True)
        (folder / "temp").write_text(f"{value}\n")


def started(root, cpus=(0, 1)):
    made = Watch(cpus, root)
    made._start_ns = made._next_ns = 0
    return made


def test_one_sample_a_second_of_the_cores_that_count(tmp_path):
    write_sys(tmp_path, (1_500_000, 600_000, 2_400_000), (48_000, 61_500))
    watched = started(tmp_path)
    for now_ns in (100, 500_000_000, 1_000_000_200, 1_500_000_000):
        watched.look(now_ns)
    assert watched.samples == [
        StateSample(1e-7, 1500.0, 61.5),
        StateSample(1.0000002, 1500.0, 61.5),
    ]


@pytest.mark.parametrize(
    ("clocks", "temperatures", "expected"),
    [((1_000_000,), (), (1000.0, None)), ((), (50_000,), (None, 50.0))],
)
def test_what_is_not_there_is_unknown(tmp_path, clocks, temperatures, expected):
    write_sys(tmp_path, clocks, temperatures)
    watched = started(tmp_path)
    watched.look(1)
    (sample,) = watched.samples
    assert (sample.frequency_mhz, sample.temperature_c) == expected


def test_nothing_to_read_is_no_sample(tmp_path):
    watched = started(tmp_path)
    watched.look(1)
    assert watched.samples == []


def test_the_samples_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MAX_SAMPLES", 3)
    write_sys(tmp_path, (1,))
    watched = started(tmp_path)
    for second in range(10):
        watched.look(second * 10**9)
    assert len(watched.samples) == 3


def test_the_time_counts_from_the_start_of_the_window(tmp_path):
    write_sys(tmp_path, (1_000_000,))
    watched = Watch((0,), tmp_path)
    watched.start()
    watched.look(watched._start_ns + 250_000_000)
    assert watched.samples[0].at_s == 0.25


def test_the_allowed_cores_are_the_kernels(monkeypatch):
    assert allowed_cpus() == tuple(sorted(os.sched_getaffinity(0)))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert allowed_cpus() == ()
