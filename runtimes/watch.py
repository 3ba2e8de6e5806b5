"""Looks at the device between two runs: a clock that falls, a temperature that rises.

Reading two or three files of /sys takes some 10 µs, once a second, and never within a sample.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from runtimes.report import StateSample

INTERVAL_NS = 1_000_000_000
MAX_SAMPLES = 600
SYS = Path("/sys")


def allowed_cpus() -> tuple[int, ...]:
    """The cores that this process may run on; none where the system does not tell."""
    try:
        return tuple(sorted(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        return ()


class Watch:
    """Takes a sample each second; give `look` to `runtimes.timing.measure`."""

    def __init__(self, cpus: tuple[int, ...], sys: Path = SYS) -> None:
        cores = sys / "devices/system/cpu"
        self._clocks = _readable(cores / f"cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in cpus)
        self._temperatures = _readable(sorted(sys.glob("class/thermal/thermal_zone*/temp")))
        self._start_ns = self._next_ns = time.perf_counter_ns()
        self.samples: list[StateSample] = []

    def look(self, now_ns: int) -> None:
        """Take a sample if it is time for one, and if there is anything to read."""
        if now_ns < self._next_ns or not (self._clocks or self._temperatures):
            return
        if len(self.samples) < MAX_SAMPLES:
            self._next_ns = now_ns + INTERVAL_NS
            khz, millidegrees = _highest(self._clocks), _highest(self._temperatures)
            self.samples.append(
                StateSample(
                    at_s=(now_ns - self._start_ns) / 1e9,
                    frequency_mhz=None if khz is None else khz / 1000,
                    temperature_c=None if millidegrees is None else millidegrees / 1000,
                )
            )

    def start(self) -> None:
        """Let the time count from now."""
        self._start_ns = self._next_ns = time.perf_counter_ns()


def _readable(paths: object) -> list[Path]:
    return [path for path in paths if _number(path) is not None]  # type: ignore[attr-defined]


def _highest(paths: list[Path]) -> float | None:
    numbers = [number for number in map(_number, paths) if number is not None]
    return max(numbers) if numbers else None


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
