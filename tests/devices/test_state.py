from __future__ import annotations

import dataclasses
import json

import pytest

from devices import probe
from devices.errors import DeviceError
from devices.local import LocalTransport
from devices.probe import Snapshot
from devices.state import (
    DeviceState,
    busy_cores,
    parse_battery,
    parse_cpu_list,
    parse_cpu_times,
    parse_flag,
    parse_meminfo,
    parse_model,
    parse_number,
    parse_os,
    parse_soc,
    parse_thermal_status,
    parse_throttled,
    read_state,
    state_of,
)

STAT = "cpu  100 5 50 1000 20 1 2 3 0 0\ncpu0 1 2 3\n"


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


BOARD = "/proc/device-tree/model"
CPUINFO = "/proc/cpuinfo"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            {BOARD: "Raspberry Pi 4 Model B\n", CPUINFO: "model name : x\n"},
            "Raspberry Pi 4 Model B",
        ),
        ({CPUINFO: "processor : 0\nmodel name\t: AMD EPYC\n"}, "AMD EPYC"),
        ({CPUINFO: "processor : 0\nModel\t\t: Raspberry Pi 3\n"}, "Raspberry Pi 3"),
        ({CPUINFO: "processor : 0\nmodel\t\t: 1\n"}, None),
        (
            {"getprop ro.product.manufacturer": "Acme\n", "getprop ro.product.model": "5\n"},
            "Acme 5",
        ),
        ({}, None),
    ],
)
def test_parse_model(texts, expected):
    assert parse_model(Snapshot(texts)) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"/proc/device-tree/compatible": "raspberrypi,4-model-b\nbrcm,bcm2711\n"}, "brcm,bcm2711"),
        ({"getprop ro.soc.model": "QCM6490\n"}, "QCM6490"),
        ({}, None),
    ],
)
def test_parse_soc(texts, expected):
    assert parse_soc(Snapshot(texts)) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"/etc/os-release": 'ID=debian\nPRETTY_NAME="Debian 12"\n'}, "Debian 12"),
        ({"/etc/os-release": "ID=debian"}, None),
        ({"getprop ro.build.version.release": "14\n"}, "Android 14"),
        ({}, None),
    ],
)
def test_parse_os(texts, expected):
    assert parse_os(Snapshot(texts)) == expected


THERMAL = (
    "IsStatusOverride: false\nThermalEventListeners:\nThermal Status: {}\nCached temperatures:"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (THERMAL.format(0), "none"),
        (THERMAL.format(3), "severe"),
        (THERMAL.format(9), None),
        ("Can't find service: thermalservice", None),
        (None, None),
    ],
)
def test_parse_thermal_status(text, expected):
    assert parse_thermal_status(text) == expected


DUMPSYS = """Current Battery Service state:
  AC powered: false
  USB powered: {}
  Wireless powered: false
  level: 87
  temperature: 281
"""
SUPPLY = "/sys/class/power_supply"
LAPTOP = {
    f"{SUPPLY}/AC/type": "Mains\n",
    f"{SUPPLY}/BAT0/type": "Battery\n",
    f"{SUPPLY}/BAT0/capacity": "61\n",
    f"{SUPPLY}/BAT0/status": "Discharging\n",
}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"dumpsys battery": DUMPSYS.format("true")}, (87, True)),
        ({"dumpsys battery": DUMPSYS.format("false")}, (87, False)),
        (LAPTOP, (61, False)),
        ({f"{SUPPLY}/AC/type": "Mains\n"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_parse_battery(texts, expected):
    assert parse_battery(Snapshot(texts)) == expected


@pytest.mark.parametrize(("text", "expected"), [("1\n", True), ("0", False), ("null", None)])
def test_parse_flag(text, expected):
    assert parse_flag(text) is expected


@pytest.fixture
def transport():
    with LocalTransport() as opened:
        yield opened


def write_board(root):
    cpu = "sys/devices/system/cpu"
    files = {
        "proc/stat": STAT,
        "proc/loadavg": "0.42 0.30 0.10 1/123 456\n",
        "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B\0",
        "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
        "etc/os-release": 'PRETTY_NAME="Raspberry Pi OS"\n',
        f"{cpu}/online": "0-11\n",
        "sys/class/thermal/thermal_zone0/temp": "61200\n",
        "sys/class/thermal/thermal_zone1/temp": "48000",
        **{f"{cpu}/cpu{n}/cpufreq/scaling_governor": "powersave\n" for n in (0, 1)},
        **{f"{cpu}/cpu{n}/cpufreq/scaling_cur_freq": f"{600 + n}000\n" for n in (0, 1)},
        **{f"{cpu}/cpu{n}/cpufreq/cpuinfo_max_freq": f"{1000 + n}000\n" for n in range(12)},
        f"{cpu}/cpu0/cpufreq/scaling_driver": "cpufreq-dt\n",
        f"{cpu}/cpu0/cpufreq/scaling_max_freq": "1800000\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def without_programs(state):
    """The state but for what uname and the like of this machine tell."""
    return dataclasses.replace(state, kernel=None, machine=None)


def test_a_board_is_read_whole(transport, tmp_path):
    write_board(tmp_path)
    assert without_programs(read_state(transport, str(tmp_path))) == DeviceState(
        model="Raspberry Pi 4 Model B",
        soc="brcm,bcm2711",
        os="Raspberry Pi OS",
        cores=12,
        cpu_max_mhz=tuple(1000.0 + n for n in range(12)),
        governors=("powersave",),
        frequency_driver="cpufreq-dt",
        frequency_mhz=601.0,
        frequency_max_mhz=1800.0,
        temperature_c=61.2,
        load_1m=0.42,
        busy_cores=None,  # its clock stands still
        memory_total_bytes=1_024_000,
        memory_available_bytes=614_400,
    )


def test_programs_of_a_board_are_asked(transport, tmp_path, monkeypatch):
    for name, said in (("vcgencmd", "throttled=0x50000"), ("settings", "1")):
        (tmp_path / name).write_text(f'#!/bin/sh\n[ "$*" ] && echo "{said}"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = read_state(transport)
    assert (found.throttled_now, found.throttled_before) == ((), ("under-voltage", "throttled"))
    assert found.power_save is True


def test_an_empty_machine_is_all_unknown(transport, tmp_path):
    assert without_programs(read_state(transport, str(tmp_path))) == DeviceState()


def test_a_snapshot_of_nothing_is_all_unknown():
    assert state_of(Snapshot()) == DeviceState()
    assert set(DeviceState().to_dict().values()) == {"unknown"}


def test_a_device_that_does_not_answer_tells_nothing():
    class Silent:
        def run(self, argv, *, timeout_s, stdin=""):
            raise DeviceError("no shell")

    assert probe.take(Silent()) == Snapshot()


def test_this_machine_can_be_read_and_reported(transport):
    found = read_state(transport)
    document = json.loads(json.dumps(found.to_dict()))
    assert set(document) == {field.name for field in dataclasses.fields(DeviceState)}
    assert found.machine
    assert found.cores is None or 0 < found.cores < 10_000
    assert found.busy_cores is None or 0 <= found.busy_cores <= found.cores
