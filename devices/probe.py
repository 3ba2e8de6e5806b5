"""Reads what a device's kernel and system programs tell, in one script and one trip.

The script starts hardly a process: on a board, or under emulation, each costs milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from devices.errors import DeviceError
from devices.transport import Transport

PROBE_TIMEOUT_S = 30.0
LOAD_SAMPLE_S = 0.2

FILES = (
    "/proc/stat",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/etc/os-release",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_driver",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "/sys/class/power_supply/*/capacity",
    "/sys/class/power_supply/*/status",
    "/sys/class/power_supply/*/type",
)
# Strings with a zero byte at their ends.
ZERO_ENDED = ("/proc/device-tree/model", "/proc/device-tree/compatible")
PROGRAMS = (
    "uname -srm",
    "vcgencmd get_throttled",
    "dumpsys thermalservice",
    "dumpsys battery",
    "settings get global low_power",
    "getprop ro.product.manufacturer",
    "getprop ro.product.model",
    "getprop ro.soc.model",
    "getprop ro.build.version.release",
)
_TAG = "@@edgewright"

SCRIPT = f"""
exec 2>/dev/null
root=$1
show() {{ echo "{_TAG} ${{1#"$root"}}"; while read -r line || [ -n "$line" ]; do
  printf '%s\\n' "$line"; done <"$1"; }}
for f in {" ".join(f'"$root"{file}' for file in FILES)}; do [ -r "$f" ] && show "$f"; done
for f in {" ".join(f'"$root"{file}' for file in ZERO_ENDED)}; do
  [ -r "$f" ] && echo "{_TAG} ${{f#"$root"}}" && tr '\\0' '\\n' <"$f"; done
run() {{ command -v "$1" >/dev/null && {{ echo "{_TAG} $*"; "$@" </dev/null; echo; }}; }}
{chr(10).join(f"run {program}" for program in PROGRAMS)}
sleep {LOAD_SAMPLE_S}
[ -r "$root/proc/stat" ] && {{ echo "{_TAG} again"; head -n 1 "$root/proc/stat"; }}
exit 0
"""


@dataclass(frozen=True)
class Snapshot:
    """The texts of files by path and of programs by command line; `again` is /proc/stat's later."""

    texts: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """The text of a file or a program; None where the device does not have it."""
        return self.texts.get(name)

    def glob(self, pattern: str) -> list[str]:
        """The paths of files that match, those with numbers in numeric order."""
        found = [name for name in self.texts if fnmatchcase(name, pattern)]
        return sorted(found, key=lambda name: (len(name), name))


def take(transport: Transport, root: str = "") -> Snapshot:
    """Look at the device. One that has no shell, or not in time, tells nothing.

    Args:
        transport: the link.
        root: read the files of a tree below this directory there, in place of the device's own.
    """
    try:
        argv = ["sh", "-c", SCRIPT, "sh", root]
        said = transport.run(argv, timeout_s=PROBE_TIMEOUT_S).stdout
    except DeviceError:
        return Snapshot()
    texts = {}
    for part in said.split(f"{_TAG} ")[1:]:
        name, _, text = part.partition("\n")
        texts[name] = text
    return Snapshot(texts)
