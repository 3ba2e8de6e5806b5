"""The state of a device that decides whether a measurement means anything.

What cannot be read is None here and "unknown" in reports: it is never taken for good or bad. A
virtual machine has no governor, for one. `devices.validity` judges.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from devices.probe import Snapshot, take
from devices.transport import Transport

UNKNOWN = "unknown"
CPUFREQ = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"
# vcgencmd get_throttled, bits 0 to 3: what is the case now (16 to 19: since boot).
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
# android.os.PowerManager, THERMAL_STATUS_*.
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True)
class DeviceState:
    """One look at a device. None is unknown.

    Attributes:
        cpu_max_mhz: each core's own highest clock, core 0 first: the large ones have more.
        frequency_mhz: the highest clock now; `frequency_max_mhz` the highest allowed.
        throttled_now: limits in force on a Raspberry Pi; `throttled_before` those since boot.
        thermal_status: Android's, one of THERMAL_STATUS.
        load_1m: the kernel's mean over a minute; `busy_cores` how many were at work just now.
        power_save: whether Android's battery saver is on.
    """

    model: str | None = None
    soc: str | None = None
    os: str | None = None
    kernel: str | None = None
    machine: str | None = None
    cores: int | None = None
    cpu_max_mhz: tuple[float, ...] | None = None
    governors: tuple[str, ...] | None = None
    frequency_driver: str | None = None
    frequency_mhz: float | None = None
    frequency_max_mhz: float | None = None
    temperature_c: float | None = None
    throttled_now: tuple[str, ...] | None = None
    throttled_before: tuple[str, ...] | None = None
    thermal_status: str | None = None
    load_1m: float | None = None
    busy_cores: float | None = None
    battery_percent: int | None = None
    charging: bool | None = None
    power_save: bool | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a report, with "unknown" for None."""
        return {
            key: UNKNOWN if value is None else list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }


def read_state(transport: Transport, root: str = "") -> DeviceState:
    """Look at a device; takes 0.2 s there, to see how many cores are at work."""
    return state_of(take(transport, root))


def state_of(seen: Snapshot) -> DeviceState:
    """What a snapshot tells."""
    throttled = parse_throttled(seen.get("vcgencmd get_throttled"))
    cores = parse_cpu_list(seen.get("/sys/devices/system/cpu/online"))
    meminfo = parse_meminfo(seen.get("/proc/meminfo"))
    battery = parse_battery(seen)
    temperature = _highest(seen, "/sys/class/thermal/thermal_zone[0-9]*/temp")
    times = [parse_cpu_times(seen.get(name)) for name in ("/proc/stat", "again")]
    system, _, machine = (_stripped(seen.get("uname -srm")) or "").rpartition(" ")
    return DeviceState(
        model=parse_model(seen),
        soc=parse_soc(seen),
        os=parse_os(seen),
        kernel=system or None,
        machine=machine or None,
        cores=cores,
        cpu_max_mhz=_all_mhz(seen, "cpuinfo_max_freq"),
        governors=_values(seen, f"{CPUFREQ}/scaling_governor"),
        frequency_driver=(_values(seen, f"{CPUFREQ}/scaling_driver") or (None,))[0],
        frequency_mhz=_highest_mhz(seen, "scaling_cur_freq"),
        frequency_max_mhz=_highest_mhz(seen, "scaling_max_freq"),
        temperature_c=None if temperature is None else temperature / 1000,
        throttled_now=throttled[0] if throttled is not None else None,
        throttled_before=throttled[1] if throttled is not None else None,
        thermal_status=parse_thermal_status(seen.get("dumpsys thermalservice")),
        load_1m=parse_number((seen.get("/proc/loadavg") or "").partition(" ")[0]),
        busy_cores=busy_cores(times[0], times[1], cores),
        battery_percent=battery[0],
        charging=battery[1],
        power_save=parse_flag(seen.get("settings get global low_power")),
        memory_total_bytes=meminfo.get("MemTotal"),
        memory_available_bytes=meminfo.get("MemAvailable"),
    )


def _values(seen: Snapshot, pattern: str) -> tuple[str, ...] | None:
    texts = [_stripped(seen.get(path)) for path in seen.glob(pattern)]
    return tuple(sorted({text for text in texts if text is not None})) or None


def _highest(seen: Snapshot, pattern: str) -> float | None:
    numbers = [parse_number(seen.get(path)) for path in seen.glob(pattern)]
    return max((number for number in numbers if number is not None), default=None)


def _highest_mhz(seen: Snapshot, name: str) -> float | None:
    khz = _highest(seen, f"{CPUFREQ}/{name}")
    return None if khz is None else khz / 1000


def _all_mhz(seen: Snapshot, name: str) -> tuple[float, ...] | None:
    khz = [parse_number(seen.get(path)) for path in seen.glob(f"{CPUFREQ}/{name}")]
    known = tuple(number / 1000 for number in khz if number is not None)
    return known if known and len(known) == len(khz) else None


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


def parse_model(seen: Snapshot) -> str | None:
    """The board's name where a device tree has one, a phone's model, else the processor's."""
    board = _stripped((seen.get("/proc/device-tree/model") or "").partition("\n")[0])
    names = [_stripped(seen.get(f"getprop ro.product.{key}")) for key in ("manufacturer", "model")]
    phone = " ".join(name for name in names if name is not None)
    match = re.search(
        r"^(?:Model|model name)\s*:\s*(.+)$", seen.get("/proc/cpuinfo") or "", re.MULTILINE
    )
    return board or phone or (match[1].strip() if match is not None else None)


def parse_soc(seen: Snapshot) -> str | None:
    """The chip: the last of the device tree's names ("brcm,bcm2711"), or Android's property."""
    names = (seen.get("/proc/device-tree/compatible") or "").split()
    return names[-1] if names else _stripped(seen.get("getprop ro.soc.model"))


def parse_os(seen: Snapshot) -> str | None:
    """The system's name for people."""
    android = _stripped(seen.get("getprop ro.build.version.release"))
    text = seen.get("/etc/os-release") or ""
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text, re.MULTILINE)
    return f"Android {android}" if android else match[1] if match is not None else None


def parse_thermal_status(text: str | None) -> str | None:
    """Android's throttling of `dumpsys thermalservice`: "Thermal Status: 0"."""
    match = re.search(r"^\s*Thermal Status: (\d)$", text or "", re.MULTILINE)
    if match is None or int(match[1]) >= len(THERMAL_STATUS):
        return None
    return THERMAL_STATUS[int(match[1])]


def parse_battery(seen: Snapshot) -> tuple[int | None, bool | None]:
    """Percent, and whether it charges: of `dumpsys battery`, else of /sys/class/power_supply."""
    text = seen.get("dumpsys battery") or ""
    level = re.search(r"^\s*level: (\d+)$", text, re.MULTILINE)
    powered = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered: (true|false)$", text, re.MULTILINE)
    if level is not None:
        return int(level[1]), "true" in powered if powered else None
    for path in seen.glob("/sys/class/power_supply/*/type"):
        folder = path.rpartition("/")[0]
        percent = parse_number(seen.get(f"{folder}/capacity"))
        if _stripped(seen.get(path)) == "Battery" and percent is not None:
            return int(percent), _stripped(seen.get(f"{folder}/status")) != "Discharging"
    return None, None


def parse_flag(text: str | None) -> bool | None:
    """Android's settings: "1", "0", or "null"."""
    return {"1": True, "0": False}.get((text or "").strip())
