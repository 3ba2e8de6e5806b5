"""How files and commands reach a device. Each kind of link implements `Transport`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Result:
    """A command that ended. `returncode` is -N after signal N where the link can tell."""

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
        """Copy a file into the work directory; gives its path on the device.

        Raises:
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
