"""Android phones over adb: the adb program itself, always by serial number, on USB or TCP."""

from __future__ import annotations

import os
import re
from pathlib import Path

from devices.errors import (
    DeviceError,
    LinkError,
    LinkLostError,
    UnauthorizedError,
    UnreachableError,
)
from devices.remote import RemoteTransport, call

CONNECT_TIMEOUT_S = 20.0
TEMPORARY = "/data/local/tmp"  # where Android lets its shell user write and execute


class AdbLink:
    """The adb program on the way to one phone; see `devices.remote.Link`.

    Args:
        serial: as `adb devices` lists it; host:port is connected to over TCP.
        program: another adb than the one on PATH.
    """

    def __init__(self, serial: str, program: str = "adb") -> None:
        self._serial = serial
        self._program = program
        self._connected = False
        self.name = f"adb:{serial}"
        self.environment = dict(os.environ)

    def connect(self) -> None:
        """See that the phone is there and allows debugging."""
        state = self._state()
        if state != "device" and re.fullmatch(r".+:\d+", self._serial):
            # After a drop adb holds on to the dead connection, and would give that again.
            self._adb("disconnect", self._serial)
            said = self._adb("connect", self._serial)
            self._connected = "connected to" in said and "fail" not in said
            state = self._state() if self._connected else said
        if state != "device":
            raise self.failure(state, stood=False)

    def shell(self, script: str) -> list[str]:
        """The adb command that runs a script."""
        return [self._program, "-s", self._serial, "shell", script]

    def send(self, local: Path, target: str, timeout_s: float) -> None:
        """Push a file; whether it has arrived whole is seen there."""
        argv = [self._program, "-s", self._serial, "push", str(local), target]
        done = call(self, argv, timeout_s=timeout_s)
        if done.returncode != 0 and self._state() != "device":
            raise self.failure(done.stderr_text, stood=True)

    def failure(self, said: str, *, stood: bool) -> DeviceError:
        """The error behind what adb said."""
        return adb_failure(self._serial, said, stood=stood)

    def close(self) -> None:
        """Let a connection go that was made here."""
        if self._connected:
            self._connected = False
            self._adb("disconnect", self._serial)

    def _state(self) -> str:
        """The phone's state ("device" is good), or what adb said of it."""
        return self._adb("-s", self._serial, "get-state")

    def _adb(self, *arguments: str) -> str:
        done = call(self, [self._program, *arguments], timeout_s=CONNECT_TIMEOUT_S)
        said = done.stdout.decode("utf-8", "replace").strip() or done.stderr_text
        # "* daemon not running; starting now": what it does first, and not what is wrong.
        return "\n".join(line for line in said.splitlines() if not line.startswith("* "))


# What adb says, which error that is, and what to do. The first that fits counts.
_SAYINGS: tuple[tuple[str, type[LinkError], str, str], ...] = (
    (
        r"unauthorized|failed to authenticate|authorizing",
        UnauthorizedError,
        "the phone {serial} has not allowed debugging from this machine",
        "unlock it and confirm 'Allow USB debugging'; if nothing asks, "
        "revoke the authorizations in its developer options and connect again",
    ),
    (
        r"no permissions|insufficient permissions",
        UnreachableError,
        "this user may not use the phone {serial}",
        "install android-sdk-platform-tools-common (udev rules) and join the group plugdev",
    ),
    (
        r"offline",
        UnreachableError,
        "the phone {serial} is offline",
        "unlock it, connect it again, or: adb reconnect",
    ),
)
_LOST = (
    LinkLostError,
    "the link to the phone {serial} broke",
    "check the cable or network, and run it again: nothing is left there",
)
_NOT_THERE = (
    UnreachableError,
    "there is no phone {serial}",
    "look at `adb devices -l`; USB debugging must be on in the developer options",
)


def adb_failure(serial: str, said: str, *, stood: bool) -> LinkError:
    """The error behind what adb said; `stood`: the link was there before."""
    kind, problem, remedy = _LOST if stood else _NOT_THERE
    if not stood:
        for pattern, *rest in _SAYINGS:
            if re.search(pattern, said):
                kind, problem, remedy = rest  # type: ignore[assignment]
                break
    return kind(
        problem.format(serial=serial),
        found="; ".join(said.splitlines()[-3:]) or "nothing said",
        remedy=remedy,
    )


def open_adb(serial: str, *, parent: str = TEMPORARY, program: str = "adb") -> RemoteTransport:
    """Connect to a phone; the transport's directory is made in `parent` there."""
    return RemoteTransport(AdbLink(serial, program), parent=parent)
