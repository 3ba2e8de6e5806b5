from __future__ import annotations

import dataclasses
import json

import pytest

from devices.state import (
    DeviceState,
    LocalMachine,
    busy_cores,
    parse_cpu_list,
    parse_cpu_times,
    parse_meminfo,
    parse_model,
    parse_number,
    parse_os_release,
    parse_throttled,
    problems,
    read_state,
    remarks,
)

STAT = "cpu  100 5 50 1000 20 1 2 3 0 0\ncpu0 1 2 3\n"
GOOD = DeviceState(
    cores=4,
    governors=("performance",),
    throttled_now=(),
    throttled_before=(),
    load_1m=0.2,
    busy_cores=0.1,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1800000\n", 1.8e6), ("-5", -5.0), ("", None), ("x", None), (None, None)],
)
def test_parse_number(text, expected):
    assert parse_number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-3\n", 4), ("0", 1), ("0-3,5,8-9", 7), ("", None), ("all", None), (None, None)],
)
def test_parse_cpu_list(text, expected):
    assert parse_cpu_list(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(STAT, (1020, 1181)), ("cpu 1 2 3", None), ("intr 1 2 3 4 5 6 7 8", None), (None, None)],
)
def test_parse_cpu_times(text, expected):
    assert parse_cpu_times(text) == expected


@pytest.mark.parametrize(
    ("after", "cores", "expected"),
    [
        ((1020 + 40, 1181 + 80), 4, 2.0),
        ((1020 + 80, 1181 + 80), 4, 0.0),
        ((1020, 1181 + 80), 2, 2.0),
        ((1010, 1181 + 80), 2, 2.0),  # idle time can run backwards (proc(5), iowait)
        ((1020, 1181), 4, None),
        ((1020 + 40, 1181 + 80), None, None),
        (None, 4, None),
    ],
)
def test_busy_cores(after, cores, expected):
    assert busy_cores((1020, 1181), after, cores) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("throttled=0x0\n", ((), ())),
        ("throttled=0x50005", (("under-voltage", "throttled"), ("under-voltage", "throttled"))),
        ("throttled=0x80000", ((), ("soft temperature limit",))),
        ("throttled=0x2", (("frequency capped",), ())),
        ("error=1 error_msg=...", None),
        (None, None),
    ],
)
def test_parse_throttled(text, expected):
    assert parse_throttled(text) == expected


def test_parse_meminfo_is_in_bytes():
    text = "MemTotal:        3884508 kB\nMemAvailable:    3400000 kB\nHugePages_Total:       0\n"
    found = parse_meminfo(text)
    assert found == {"MemTotal": 3_977_736_192, "MemAvailable": 3_481_600_000}


@pytest.mark.parametrize(
    ("tree", "cpuinfo", "expected"),
    [
        (
            "Raspberry Pi 4 Model B Rev 1.4\0",
            "model name : ARMv7\n",
            "Raspberry Pi 4 Model B Rev 1.4",
        ),
        (None, "processor : 0\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
        (None, "processor : 0\nModel\t\t: Raspberry Pi 3\n", "Raspberry Pi 3"),
        (None, "processor : 0\nmodel\t\t: 1\n", None),
        (None, None, None),
    ],
)
def test_parse_model(tree, cpuinfo, expected):
    assert parse_model(tree, cpuinfo) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [('ID=debian\nPRETTY_NAME="Debian 12"\n', "Debian 12"), ("ID=debian", None), (None, None)],
)
def test_parse_os_release(text, expected):
    assert parse_os_release(text) == expected


def test_a_good_state_has_no_problems():
    assert problems(GOOD) == ()
    assert remarks(GOOD) == ()


@pytest.mark.parametrize(
    ("change", "threads", "message"),
    [
        ({"governors": ("performance", "powersave")}, 1, "governor is powersave"),
        ({"throttled_now": ("throttled",)}, 1, "limited now (throttled)"),
        ({"busy_cores": 3.5}, 1, "3.5 of 4 cores are busy"),
        ({"busy_cores": 0.5}, 4, "0.5 of 4 cores are busy with other work and 4"),
        ({"busy_cores": None, "load_1m": 6.0}, 1, "6.0 of 4 cores"),
        ({}, 8, "8 threads on 4 cores"),
    ],
)
def test_problems_have_a_reason_and_a_remedy(change, threads, message):
    found = problems(dataclasses.replace(GOOD, **change), threads=threads)
    assert len(found) == 1
    assert message in found[0]
    assert ": " in found[0]


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
    assert set(DeviceState().to_dict().values()) == {"unknown"}


def test_throttling_since_boot_is_a_remark():
    found = remarks(dataclasses.replace(GOOD, throttled_before=("under-voltage",)))
    assert found == ("the device has been limited since boot (under-voltage)",)


class Board(LocalMachine):
    """A tree that looks like a Raspberry Pi, with its own vcgencmd."""

    def output(self, program, *arguments):
        known = {
            ("vcgencmd", "get_throttled"): "throttled=0x50000\n",
            ("uname", "-m"): "aarch64\n",
        }
        return known.get((program, *arguments))


def write_board(root):
    cpu = "sys/devices/system/cpu"
    files = {
        "proc/stat": STAT,
        "proc/loadavg": "0.42 0.30 0.10 1/123 456\n",
        "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B\0",
        "etc/os-release": 'PRETTY_NAME="Raspberry Pi OS"\n',
        f"{cpu}/online": "0-1\n",
        "sys/class/thermal/thermal_zone0/temp": "61200\n",
        "sys/class/thermal/thermal_zone1/temp": "48000\n",
        **{f"{cpu}/cpu{n}/cpufreq/scaling_governor": "powersave\n" for n in (0, 1)},
        **{f"{cpu}/cpu{n}/cpufreq/scaling_cur_freq": f"{600 + n}000\n" for n in (0, 1)},
        f"{cpu}/cpu0/cpufreq/scaling_driver": "cpufreq-dt\n",
        f"{cpu}/cpu0/cpufreq/scaling_max_freq": "1800000\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Board(root)


def test_a_board_is_read_whole(tmp_path):
    found = read_state(write_board(tmp_path))
    assert found == DeviceState(
        model="Raspberry Pi 4 Model B",
        os="Raspberry Pi OS",
        machine="aarch64",
        cores=2,
        governors=("powersave",),
        frequency_driver="cpufreq-dt",
        frequency_mhz=601.0,
        frequency_max_mhz=1800.0,
        temperature_c=61.2,
        throttled_now=(),
        throttled_before=("under-voltage", "throttled"),
        load_1m=0.42,
        busy_cores=None,  # its clock stands still
        memory_total_bytes=1_024_000,
        memory_available_bytes=614_400,
    )
    assert len(problems(found)) == 1


def test_an_empty_machine_is_all_unknown(tmp_path):
    class Nothing(LocalMachine):
        def output(self, program, *arguments):
            return None

    assert read_state(Nothing(tmp_path)) == DeviceState()


def test_this_machine_can_be_read_and_reported():
    found = read_state(LocalMachine())
    document = json.loads(json.dumps(found.to_dict()))
    assert set(document) == {field.name for field in dataclasses.fields(DeviceState)}
    assert found.cores is None or 0 < found.cores < 10_000
    assert found.busy_cores is None or 0 <= found.busy_cores <= found.cores


def test_a_program_that_is_not_there_is_unknown():
    assert LocalMachine().output("no-such-program-here") is None
    assert LocalMachine().output("false") is None
