"""What is known of a kind of board before it is asked: profiles/*.toml, with their sources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from devices.state import DeviceState

DIRECTORY = Path(__file__).with_name("profiles")
NAMES = tuple(sorted(path.stem for path in DIRECTORY.glob("*.toml")))
CLOCK_TOLERANCE = 0.95


class Profile(BaseModel):
    """One kind of board. None is not the same on all of them.

    Attributes:
        matches: how the kernel's name of the board begins.
        os: how the system's name begins, where no board is meant but all with this system.
        clock_mhz: the highest clock as delivered.
        memory_mib: of the smallest model.
        soft_limit_c: the temperature from which on the firmware lowers the clock.
        dot_product: whether the cores have int8 dot products.
        sources: where each figure comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    matches: str | None = None
    os: str | None = None
    soc: str | None = None
    machine: str
    cores: int | None = None
    core: str | None = None
    clock_mhz: float | None = None
    memory_mib: int | None = None
    soft_limit_c: float | None = None
    dot_product: bool | None = None
    sources: Mapping[str, str]

    def contradictions(self, state: DeviceState) -> tuple[str, ...]:
        """What the device tells of itself that does not fit the profile."""
        found = []
        if self.matches and state.model and not state.model.startswith(self.matches):
            found.append(f"the board is a {state.model}, not a {self.name}")
        if self.cores and state.cores and state.cores < self.cores:
            found.append(f"{state.cores} of {self.cores} cores are on")
        clock = state.frequency_max_mhz
        if self.clock_mhz and clock and clock < CLOCK_TOLERANCE * self.clock_mhz:
            found.append(f"the clock is limited to {clock:.0f} of {self.clock_mhz:.0f} MHz")
        if self.machine and state.machine and state.machine != self.machine:
            found.append(f"the system is {state.machine}, not {self.machine}")
        return tuple(found)


def load_profile(name: str) -> Profile:
    """A profile by its name, one of NAMES."""
    text = (DIRECTORY / f"{name}.toml").read_text(encoding="utf-8")
    return Profile.model_validate(tomllib.loads(text))


def profile_of(state: DeviceState) -> Profile | None:
    """The profile that the board's own name fits, else its system's and machine's."""
    profiles = [load_profile(name) for name in NAMES]
    for profile in profiles:
        if profile.matches and state.model and state.model.startswith(profile.matches):
            return profile
    for profile in profiles:
        fits = profile.os and state.os and state.os.startswith(profile.os)
        if fits and state.machine == profile.machine:
            return profile
    return None
