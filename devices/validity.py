"""Whether a measurement on a device in a given state is valid, why not, and what would mend it.

What is unknown speaks neither for nor against: `remarks` tells it to the reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.state import DeviceState
from runtimes.report import Measurement

LOAD_TOLERANCE_CORES = 0.3
# Below these, "powersave" is a dynamic governor and the default of most distributions
# (kernel.org, admin-guide/pm/intel_pstate and amd-pstate).
DYNAMIC_POWERSAVE_DRIVERS = ("intel_pstate", "amd-pstate-epp")
CLOCK_FALL = 0.85  # of the highest clock seen: Pis throttle in larger steps (1500, 1000, 750 MHz)
CLOCK_SLACK_S = 0.5
CPU_SHARE = 0.8  # of the window; a process that computes without a pause is near 1
CPU_JUDGED_S = 0.25  # windows from this length on: in a shorter one, one tick of others is much
LOW_BATTERY_PERCENT = 15


@dataclass(frozen=True)
class Problem:
    """Why a measurement is not valid, and what would mend it."""

    reason: str
    remedy: str


def problems(
    state: DeviceState, *, threads: int = 1, cpus: Sequence[int] = (), judge_load: bool = True
) -> tuple[Problem, ...]:
    """What in a device's state makes a measurement invalid.

    Args:
        state: as read right before a measurement, or right after.
        threads: how many the measurement uses.
        cpus: the cores that it is pinned to; empty is all.
        judge_load: False right after a measurement, whose own work is in the load.
    """
    return (
        *_clock_problems(state),
        *_core_problems(state, threads, cpus),
        *(_load_problems(state, threads) if judge_load else ()),
    )


def _clock_problems(state: DeviceState) -> list[Problem]:
    found = []
    dynamic = state.frequency_driver in DYNAMIC_POWERSAVE_DRIVERS
    if "powersave" in (state.governors or ()) and not dynamic:
        found.append(
            Problem(
                "the governor is powersave, which holds the lowest clock",
                "set it to performance: echo performance | sudo tee "
                "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            )
        )
    if state.throttled_now:
        found.append(
            Problem(
                f"the device is limited now ({', '.join(state.throttled_now)})",
                "cool it (fan, heat sink, a pause), or give it a stronger power supply",
            )
        )
    if state.thermal_status not in (None, "none"):
        found.append(
            Problem(
                f"Android throttles the phone (thermal status: {state.thermal_status})",
                "let it cool: screen off, out of its case, a pause of some minutes",
            )
        )
    if state.power_save:
        found.append(
            Problem("the battery saver is on", "adb shell settings put global low_power 0")
        )
    return found


def _core_problems(state: DeviceState, threads: int, cpus: Sequence[int]) -> list[Problem]:
    cores = len(cpus) or state.cores
    if cores is None or threads <= cores:
        return []
    return [Problem(f"{threads} threads on {cores} cores", f"use --threads {cores} or fewer")]


def _load_problems(state: DeviceState, threads: int) -> list[Problem]:
    busy = state.busy_cores if state.busy_cores is not None else state.load_1m
    if busy is None or state.cores is None:
        return []
    if busy <= max(state.cores - threads, 0) + LOAD_TOLERANCE_CORES:
        return []
    return [
        Problem(
            f"{busy:.1f} of {state.cores} cores are busy with other work and this needs {threads}",
            "close other programs, or wait until they are done",
        )
    ]


def problems_during(
    row: Measurement,
    before: DeviceState,
    after: DeviceState,
    elapsed_s: float,
    cpu_s: float = 0.0,
    window_s: float = 0.0,
) -> tuple[Problem, ...]:
    """What happened to the device while it measured.

    Args:
        row: what was measured.
        before: the state before.
        after: the state after.
        elapsed_s: how long it took by this machine's clock, all in all.
        cpu_s: its processor time in the steady window, of all threads; 0 is unknown.
        window_s: how long that window took, with what lies between two samples.
    """
    found = []
    clocks = [one.frequency_mhz for one in row.watched if one.frequency_mhz is not None]
    if clocks and min(clocks) < CLOCK_FALL * max(clocks):
        found.append(
            Problem(
                f"the clock fell from {max(clocks):.0f} to {min(clocks):.0f} MHz while it measured",
                "cool the device and set the governor to performance",
            )
        )
    new = set(after.throttled_before or ()) - set(before.throttled_before or ())
    if new and before.throttled_before is not None:
        found.append(
            Problem(
                f"the device was limited while it measured ({', '.join(sorted(new))})",
                "cool it, or give it a stronger power supply",
            )
        )
    measured_s = sum(row.samples_ms) / 1e3
    jumped = measured_s > elapsed_s + CLOCK_SLACK_S
    if not jumped and window_s >= CPU_JUDGED_S and 0 < cpu_s < CPU_SHARE * window_s:
        share = cpu_s / window_s
        found.append(
            Problem(
                f"it had a core for {share:.0%} of the time only: other work came in between",
                "close other programs, or give it cores of its own: --pin",
            )
        )
    if jumped:
        found.append(
            Problem(
                f"the device's clock jumped: {measured_s:.1f} s within {elapsed_s:.1f} s",
                "measure again; if it happens again, the device cannot be measured",
            )
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
    percent = state.battery_percent
    if percent is not None and percent < LOW_BATTERY_PERCENT and not state.charging:
        found.append(f"the battery is at {percent} % and does not charge: phones slow down then")
    return tuple(found)
