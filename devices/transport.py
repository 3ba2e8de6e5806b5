"""How files and commands reach a device. Each kind of link implements `Transport`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.errors import DeviceError, DeviceTimeoutError


@dataclass(frozen=True)
class Result:
    """A command that ended. `returncode` is -N after signal N, or a shell's 128 + N."""

    returncode: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """A link to one device, with a directory of its own there that `close` removes."""

    @property
    def name(self) -> str:
        """What reports call the device."""

    @property
    def workdir(self) -> str:
        """The private directory on the device, where commands run."""

    def push(self, local: Path, name: str) -> str:
        """Copy a file into the work directory, whole or not at all; gives its path on the device.

        A file that can be executed here can be executed there.

        Raises:
            NoSpaceError: the device's disk is full.
            DeviceError: the file cannot be read, or the link failed.
        """

    def pull(self, name: str, local: Path) -> None:
        """Copy a file of the work directory here, whole or not at all.

        Raises:
            DeviceError: there is no such file, or the link failed.
        """

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Result:
        """Run a command to its end. Whatever its exit code, this is no error here.

        Raises:
            DeviceTimeoutError: it ran past `timeout_s` and was stopped.
            DeviceError: it cannot be started, or the link failed.
        """

    def close(self) -> None:
        """Remove the work directory and let the link go; may be called twice."""


def plain_name(name: str) -> str:
    """The name, if it has no directories in it.

    Raises:
        DeviceError: it has, or is none.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise DeviceError(f"'{name}' is no plain file name", expected="a name without directories")
    return name


def ran_too_long(program: str, timeout_s: float) -> DeviceTimeoutError:
    """The error of a command past its time limit."""
    return DeviceTimeoutError(
        f"'{program}' did not end in time",
        expected=f"an answer within {timeout_s:g} s",
        remedy="give it more time, or look at what holds the device up",
    )


def not_started(program: str, found: str) -> DeviceError:
    """The error of a program that is not there, or cannot be executed."""
    return DeviceError(
        f"'{program}' cannot be started on the device",
        found=found,
        remedy="name a program that is there, such as another Python",
    )
