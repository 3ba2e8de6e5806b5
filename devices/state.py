"""The state of a device that decides whether a measurement means anything.

What cannot be read is None here and "unknown" in reports: it is never taken for good or bad. A
virtual machine has no governor, for one. `problems` judges; `remarks` tells what is not known.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

UNKNOWN = "unknown"
LOAD_SAMPLE_S = 0.2
LOAD_TOLERANCE_CORES = 0.3
# Below these, "powersave" is a dynamic governor and the default of most distributions
# (kernel.org, admin-guide/pm/intel_pstate and amd-pstate).
DYNAMIC_POWERSAVE_DRIVERS = ("intel_pstate", "amd-pstate-epp")
# vcgencmd get_throttled, bits 0 to 3: what is the case now (16 to 19: since boot).
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}


@dataclass(frozen=True)
class DeviceState:
    """One look at a device. None is unknown.

    `busy_cores` is how many cores were at work in the moment before, `load_1m` the kernel's mean
    over a minute; `throttled_now` and `throttled_before` name limits in force, now and since boot.
    """

    model: str | None = None
    os: str | None = None
    machine: str | None = None
    cores: int | None = None
    governors: tuple[str, ...] | None = None
    frequency_driver: str | None = None
    frequency_mhz: float | None = None
    frequency_max_mhz: float | None = None
    temperature_c: float | None = None
    throttled_now: tuple[str, ...] | None = None
    throttled_before: tuple[str, ...] | None = None
    load_1m: float | None = None
    busy_cores: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a report, with "unknown" for None."""
        return {
            key: UNKNOWN if value is None else list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


class Machine(Protocol):
    """Where a state is read: files under / and one program's output. None is "not there"."""

    def read(self, path: str) -> str | None:
        """The text of one file."""

    def glob(self, pattern: str) -> list[str]:
        """The paths that match, in order."""

    def output(self, program: str, *arguments: str) -> str | None:
        """What a program prints."""


class LocalMachine:
    """This machine, or a tree that looks like one."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: str) -> str | None:
        """The text of one file."""
        try:
            return (self._root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def glob(self, pattern: str) -> list[str]:
        """The paths that match, in order."""
        found = self._root.glob(pattern.lstrip("/"))
        return sorted(f"/{path.relative_to(self._root)}" for path in found)

    def output(self, program: str, *arguments: str) -> str | None:
        """What a program prints, if it is there, ends well and within 5 s."""
        found = shutil.which(program)
        if found is None:
            return None
        try:
            done = subprocess.run(
                [found, *arguments], capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


def read_state(machine: Machine) -> DeviceState:
    """Look at a Linux device; takes LOAD_SAMPLE_S, to see how many cores are at work."""
    busy_before = parse_cpu_times(machine.read("/proc/stat"))
    time.sleep(LOAD_SAMPLE_S if busy_before is not None else 0)
    busy_after = parse_cpu_times(machine.read("/proc/stat"))
    cpus = machine.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    temperatures = [
        parse_number(machine.read(path))
        for path in machine.glob("/sys/class/thermal/thermal_zone*/temp")
    ]
    known_temperatures = [value for value in temperatures if value is not None]
    throttled = parse_throttled(machine.output("vcgencmd", "get_throttled"))
    cores = parse_cpu_list(machine.read("/sys/devices/system/cpu/online"))
    meminfo = parse_meminfo(machine.read("/proc/meminfo"))
    return DeviceState(
        model=parse_model(machine.read("/proc/device-tree/model"), machine.read("/proc/cpuinfo")),
        os=parse_os_release(machine.read("/etc/os-release")),
        machine=_stripped(machine.output("uname", "-m")),
        cores=cores,
        governors=_governors(machine, cpus),
        frequency_driver=_stripped(machine.read(f"{cpus[0]}/scaling_driver")) if cpus else None,
        frequency_mhz=_highest_mhz(machine, cpus, "scaling_cur_freq"),
        frequency_max_mhz=_highest_mhz(machine, cpus, "scaling_max_freq"),
        temperature_c=max(known_temperatures) / 1000 if known_temperatures else None,
        throttled_now=throttled[0] if throttled is not None else None,
        throttled_before=throttled[1] if throttled is not None else None,
        load_1m=parse_number((machine.read("/proc/loadavg") or "").partition(" ")[0]),
        busy_cores=busy_cores(busy_before, busy_after, cores),
        memory_total_bytes=meminfo.get("MemTotal"),
        memory_available_bytes=meminfo.get("MemAvailable"),
    )


def _governors(machine: Machine, cpus: list[str]) -> tuple[str, ...] | None:
    texts = [_stripped(machine.read(f"{cpu}/scaling_governor")) for cpu in cpus]
    return tuple(sorted({text for text in texts if text is not None})) or None


def _highest_mhz(machine: Machine, cpus: list[str], name: str) -> float | None:
    values_khz = [parse_number(machine.read(f"{cpu}/{name}")) for cpu in cpus]
    return max((value / 1000 for value in values_khz if value is not None), default=None)


def _stripped(text: str | None) -> str | None:
    return (text or "").strip().strip("\0") or None


def parse_number(text: str | None) -> float | None:
    """A file of one number."""
    try:
        return float((text or "").strip())
    except ValueError:
        return None


def parse_cpu_list(text: str | None) -> int | None:
    """How many CPUs the kernel's list names: "0-3,5" is 5."""
    count = 0
    for part in (text or "").strip().split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            return None
        count += int(match[2] or match[1]) - int(match[1]) + 1
    return count


def parse_cpu_times(text: str | None) -> tuple[int, int] | None:
    """Idle and total ticks of all CPUs since boot, of /proc/stat; waiting for disks is idle.

    Total is the first eight columns: a guest's time is in user time already (proc(5)).
    """
    words = (text or "").partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
        return None
    ticks = [int(word) for word in words[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def busy_cores(
    before: tuple[int, int] | None, after: tuple[int, int] | None, cores: int | None
) -> float | None:
    """How many cores were at work between two looks at /proc/stat."""
    if before is None or after is None or cores is None or after[1] <= before[1]:
        return None
    idle, total = after[0] - before[0], after[1] - before[1]
    return cores * min(max(1 - idle / total, 0.0), 1.0)


def parse_throttled(text: str | None) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Limits in force now, and since boot, of `vcgencmd get_throttled`: "throttled=0x50005"."""
    match = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", (text or "").strip())
    if match is None:
        return None
    bits = int(match[1], 16)
    now = tuple(name for bit, name in THROTTLED_BITS.items() if bits >> bit & 1)
    since_boot = tuple(name for bit, name in THROTTLED_BITS.items() if bits >> (bit + 16) & 1)
    return now, since_boot


def parse_meminfo(text: str | None) -> dict[str, int]:
    """Bytes by name, of /proc/meminfo (its kB are KiB)."""
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text or "", re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in found}


def parse_model(device_tree: str | None, cpuinfo: str | None) -> str | None:
    """The board's name where a device tree has one, else the processor's."""
    board = _stripped(device_tree)
    match = re.search(r"^(?:Model|model name)\s*:\s*(.+)$", cpuinfo or "", re.MULTILINE)
    return board or (match[1].strip() if match is not None else None)


def parse_os_release(text: str | None) -> str | None:
    """The system's name for people."""
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text or "", re.MULTILINE)
    return match[1] if match is not None else None


def problems(state: DeviceState, *, threads: int = 1, judge_load: bool = True) -> tuple[str, ...]:
    """The reasons why a measurement in this state is not valid; what is unknown is none.

    Args:
        state: as read right before a measurement, or right after.
        threads: how many the measurement uses.
        judge_load: False right after a measurement, whose own work is in the load.
    """
    found = []
    dynamic = state.frequency_driver in DYNAMIC_POWERSAVE_DRIVERS
    if "powersave" in (state.governors or ()) and not dynamic:
        found.append(
            "the governor is powersave, which holds the lowest clock: "
            "set it to performance (cpupower frequency-set -g performance)"
        )
    if state.throttled_now:
        found.append(
            f"the device is limited now ({', '.join(state.throttled_now)}): "
            "cool it, or give it a stronger power supply"
        )
    if state.cores is not None and threads > state.cores:
        found.append(f"{threads} threads on {state.cores} cores: use {state.cores} or fewer")
    busy = state.busy_cores if state.busy_cores is not None else state.load_1m
    if judge_load and busy is not None and state.cores is not None:
        spare = max(state.cores - threads, 0)
        if busy > spare + LOAD_TOLERANCE_CORES:
            found.append(
                f"{busy:.1f} of {state.cores} cores are busy with other work and {threads} are "
                "needed: close other programs"
            )
    return tuple(found)


def remarks(state: DeviceState) -> tuple[str, ...]:
    """What a reader of the measurement should know although it does not make it invalid."""
    found = []
    if state.governors is None:
        found.append("the CPU governor is unknown (a virtual machine has none)")
    if state.throttled_before:
        limits = ", ".join(state.throttled_before)
        found.append(f"the device has been limited since boot ({limits})")
    if state.busy_cores is None and state.load_1m is None:
        found.append("the load is unknown")
    return tuple(found)
