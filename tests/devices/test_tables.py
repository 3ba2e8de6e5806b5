"""What bench, smoke and the fleet's live table print."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from devices.state import DeviceState
from exporter.build import BenchRow, SmokeRow
from exporter.device_tables import invalid_lines, smoke_line, state_line

PI = DeviceState(
    model="Raspberry Pi 4 Model B Rev 1.4",
    cores=4,
    governors=("ondemand",),
    frequency_max_mhz=1500.0,
    temperature_c=48.2,
)
PHONE = DeviceState(model="Acme 5", battery_percent=61)


def row(artifact, *problems, device="pi4"):
    times = ("load_ms", "first_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "std_ms")
    memory = ("memory_before", "memory_loaded", "peak_load", "peak_inference")
    return BenchRow(
        artifact=artifact,
        device=device,
        runtime="litert",
        runtime_version="2",
        delegate="xnnpack",
        threads=1,
        samples_ms=(),
        **dict.fromkeys(times, 0.0),
        **{f"{name}_bytes": 0 for name in memory},
        valid=not problems,
        reasons=problems,
        remedies=tuple(f"mend {one}" for one in problems),
    )


def test_files_with_one_reason_share_a_line():
    rows = [row("a", "hot"), row("b", "hot", "busy"), row("c"), row("a", "hot", device="phone")]
    assert invalid_lines(rows) == [
        "not valid: pi4, a, b: hot",
        "  to do:   mend hot",
        "not valid: pi4, b: busy",
        "  to do:   mend busy",
        "not valid: phone, a: hot",
        "  to do:   mend hot",
    ]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            PI,
            DeviceState(temperature_c=61.9),
            "Raspberry Pi 4 Model B Rev 1.4, 4 cores, up to 1500 MHz, governor ondemand, "
            "48 to 62 °C",
        ),
        (PHONE, PHONE, "Acme 5, governor unknown, temperature unknown, battery at 61 %"),
        (
            DeviceState(),
            DeviceState(),
            "an unknown board, governor unknown, temperature unknown",
        ),
    ],
)
def test_a_devices_state_is_one_line(before, after, line):
    assert state_line(before.to_dict(), after.to_dict()) == line


@pytest.mark.parametrize(
    ("runtime", "delegate", "said"),
    [
        ("litert", "xnnpack", "litert 2 (xnnpack)"),
        ("litert", "none", "litert 2 (builtin kernels)"),
        ("onnxruntime", "none", "onnxruntime 2"),
    ],
)
def test_whose_kernels_ran_is_told(runtime, delegate, said):
    passed = SmokeRow(
        device="pi4",
        file="a",
        runtime=runtime,
        runtime_version="2",
        delegate=delegate,
        samples=7,
        values=70,
        passed=True,
    )
    assert smoke_line(passed) == f"✓ pi4  a: bit for bit, 7 samples, {said}"


SMOKE_TABLE = """
import sys, time
from devices.config import Device
from devices.fleet import on_each
from exporter.device_tables import FleetTable
devices = [Device(name="here", address="local"), Device(name="gone", address="ssh://127.0.0.1:1")]
def work(session, say):
    say("tiny.int8.tflite")
    time.sleep(1)  # it is drawn four times a second
with FleetTable(devices) as table:
    on_each(devices, work, table.say)
"""


def on_a_terminal(code):
    """What a Python program writes to a terminal, without the codes that move its cursor."""
    near, far = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=far, env=environment)
    os.close(far)
    said = b""
    while True:
        try:
            chunk = os.read(near, 65536)
        except OSError:  # so ends a terminal that nobody writes to any more
            break
        said += chunk
    os.close(near)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())


def test_a_terminal_has_a_live_table_of_the_devices():
    lines = [" ".join(line.split()) for line in on_a_terminal(SMOKE_TABLE).splitlines()]
    here, gone = lines[-2:] if lines[-1] else lines[-3:-1]
    assert re.fullmatch(r"here \d+ done", here)
    assert re.fullmatch(r"gone \d+ failed: ssh://127\.0\.0\.1:1 cannot be reached", gone)
    assert any(re.search(r"here \d+ tiny\.int8\.tflite", line) for line in lines)
