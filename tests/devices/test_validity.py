from __future__ import annotations

import dataclasses

import pytest

from devices.state import DeviceState
from devices.validity import Problem, problems, problems_during, remarks
from runtimes.report import Measurement, StateSample

GOOD = DeviceState(
    cores=4,
    governors=("performance",),
    throttled_now=(),
    throttled_before=(),
    load_1m=0.2,
    busy_cores=0.1,
)


def test_a_good_state_has_no_problems():
    assert problems(GOOD) == ()
    assert remarks(GOOD) == ()


@pytest.mark.parametrize(
    ("change", "threads", "message"),
    [
        ({"governors": ("performance", "powersave")}, 1, "governor is powersave"),
        ({"throttled_now": ("throttled",)}, 1, "limited now (throttled)"),
        ({"busy_cores": 3.5}, 1, "3.5 of 4 cores are busy"),
        ({"busy_cores": 0.5}, 4, "0.5 of 4 cores are busy with other work and this needs 4"),
        ({"busy_cores": None, "load_1m": 6.0}, 1, "6.0 of 4 cores"),
        ({}, 8, "8 threads on 4 cores"),
        ({"thermal_status": "moderate"}, 1, "thermal status: moderate"),
        ({"power_save": True}, 1, "battery saver"),
    ],
)
def test_problems_have_a_reason_and_a_remedy(change, threads, message):
    found = problems(dataclasses.replace(GOOD, **change), threads=threads)
    assert len(found) == 1
    assert message in found[0].reason
    assert found[0].remedy


@pytest.mark.parametrize(
    ("change", "threads"),
    [
        ({"governors": ("powersave",), "frequency_driver": "intel_pstate"}, 1),
        ({"governors": ("powersave",), "frequency_driver": "amd-pstate-epp"}, 1),
        ({"governors": ("ondemand",)}, 1),
        ({"busy_cores": 3.2}, 1),
        ({"busy_cores": 0.2}, 4),
        ({"busy_cores": 0.1, "load_1m": 9.0}, 1),  # a minute ago is not now
        ({"throttled_before": ("throttled",)}, 1),
        ({"thermal_status": "none", "power_save": False}, 1),
    ],
)
def test_no_problem(change, threads):
    assert problems(dataclasses.replace(GOOD, **change), threads=threads) == ()


def test_after_a_run_its_own_load_does_not_count():
    busy = dataclasses.replace(GOOD, busy_cores=4.0)
    assert problems(busy, threads=4, judge_load=False) == ()


def test_unknown_is_neither_good_nor_bad():
    assert problems(DeviceState(), threads=4) == ()
    governor, load = remarks(DeviceState())
    assert "governor is unknown" in governor
    assert "load is unknown" in load


def test_throttling_since_boot_is_a_remark():
    found = remarks(dataclasses.replace(GOOD, throttled_before=("under-voltage",)))
    assert found == ("the device has been limited since boot (under-voltage)",)


def test_threads_are_counted_against_the_cores_pinned_to():
    (found,) = problems(GOOD, threads=2, cpus=(3,))
    assert found == Problem("2 threads on 1 cores", "use --threads 1 or fewer")


@pytest.mark.parametrize(
    ("percent", "charging", "said"), [(14, False, True), (14, True, False), (80, False, False)]
)
def test_a_low_battery_is_a_remark(percent, charging, said):
    state = dataclasses.replace(GOOD, battery_percent=percent, charging=charging)
    assert any("battery" in remark for remark in remarks(state)) == said


def row_of(*clocks_mhz, samples_ms=(1.0,)):
    names = ("load_ms", "first_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "std_ms")
    memory = ("before_bytes", "loaded_bytes")
    return Measurement(
        artifact="a",
        device="d",
        runtime="r",
        runtime_version="1",
        delegate="none",
        threads=1,
        samples_ms=samples_ms,
        valid=True,
        **dict.fromkeys(names, 0.0),
        **dict.fromkeys((f"memory_{name}" for name in memory), 0),
        peak_load_bytes=0,
        peak_inference_bytes=0,
        watched=tuple(StateSample(float(i), clock, None) for i, clock in enumerate(clocks_mhz)),
    )


@pytest.mark.parametrize(
    ("clocks", "falls"),
    [((1500, 1500), False), ((1500, 1300), False), ((1500, 1000, 1500), True), ((None,), False)],
)
def test_a_clock_that_falls_spoils_a_measurement(clocks, falls):
    found = problems_during(row_of(*clocks), GOOD, GOOD, 10.0)
    assert bool(found) == falls
    if falls:
        assert found[0].reason == "the clock fell from 1500 to 1000 MHz while it measured"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [((), ("throttled",), True), (("throttled",), ("throttled",), False), (None, ("x",), False)],
)
def test_limits_that_came_while_it_measured(before, after, said):
    states = [dataclasses.replace(GOOD, throttled_before=bits) for bits in (before, after)]
    assert bool(problems_during(row_of(), *states, 10.0)) == said


@pytest.mark.parametrize(
    ("cpu_s", "window_s", "said"),
    [
        (6.0, 10.0, True),
        (9.9, 10.0, False),
        (19.0, 10.0, False),  # of two threads
        (0.0, 10.0, False),  # unknown
        (0.01, 0.2, False),  # too short to tell
    ],
)
def test_work_that_comes_in_between_is_seen_by_the_processor_time(cpu_s, window_s, said):
    """Of the whole window: half of a small model's is not in its samples."""
    row = row_of(samples_ms=(window_s * 500,))
    found = problems_during(row, GOOD, GOOD, 10.0, cpu_s, window_s)
    assert bool(found) == said
    if said:
        assert found[0].reason.startswith("it had a core for 60% of the time only")


def test_a_clock_that_jumps_is_seen_by_the_other_machine():
    found = problems_during(row_of(samples_ms=(3_600_000.0,)), GOOD, GOOD, 10.0)
    assert found[0].reason == "the device's clock jumped: 3600.0 s within 10.0 s"
    assert problems_during(row_of(samples_ms=(9_900.0,)), GOOD, GOOD, 10.0) == ()
