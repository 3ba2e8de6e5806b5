"""Which cores a measurement runs on: `big`, `little`, or their numbers; by taskset."""

from __future__ import annotations

import re

from devices.errors import PinError
from devices.state import DeviceState


def cores_of(pin: str, state: DeviceState) -> tuple[int, ...]:
    """The cores that `pin` names: "big" and "little" by each core's highest clock, or "0,1".

    Raises:
        PinError: it names none, or the device does not tell its cores' clocks.
    """
    if re.fullmatch(r"\d+(,\d+)*", pin):
        cores = tuple(sorted({int(number) for number in pin.split(",")}))
        if state.cores is not None and cores[-1] >= state.cores:
            raise PinError(
                f"there is no core {cores[-1]} to pin to",
                expected=f"cores 0 to {state.cores - 1}",
                found=pin,
            )
        return cores
    if pin not in ("big", "little"):
        raise PinError(
            f"'{pin}' names no cores", expected="big, little, or numbers such as 0,1", found=pin
        )
    clocks = state.cpu_max_mhz
    if clocks is None:
        raise PinError(
            f"the device does not tell its cores' clocks: which are {pin} is unknown",
            remedy="name the cores by their numbers, such as --pin 4,5,6,7",
        )
    wanted = max(clocks) if pin == "big" else min(clocks)
    return tuple(core for core, clock in enumerate(clocks) if clock == wanted)


def taskset(cores: tuple[int, ...]) -> tuple[str, ...]:
    """The words before a command that pin it: a mask in hexadecimal, as toybox takes it too."""
    return ("taskset", f"{sum(1 << core for core in cores):x}") if cores else ()
