"""devices.toml: the devices that have names, and how each is opened.

    [pi4]
    address = "ssh://pi@raspberrypi.local"
    python = "~/venv/bin/python"        # default: python3
    profile = "raspberry-pi-4b"

    [phone]
    address = "adb:R58M123ABCD"
    runner = "native"                   # or "python", or the path of a benchmark_model

It is looked for in the current directory, then in ~/.config/edgewright.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from devices.adb import TEMPORARY, open_adb
from devices.benchmark_model import BenchmarkModel
from devices.bundle import bundle_for
from devices.cargo import Cargo
from devices.errors import DevicesFileError, UnknownDeviceError
from devices.local import LocalTransport
from devices.native import NativeRunner
from devices.profile import NAMES as PROFILE_NAMES
from devices.runners import Runner
from devices.session import Session
from devices.ssh import open_ssh, parse_url
from devices.state import read_state
from devices.transport import Transport

FILE_NAME = "devices.toml"
PYTHON, NATIVE = "python", "native"


class Device(BaseModel):
    """One device of devices.toml, or one that only has an address.

    Attributes:
        name: as reports call it.
        address: "local", "ssh://user@host:port", or "adb:SERIAL".
        python: the program there that runs the agent; "~/" is the home directory there.
        runner: "python", "native", or the path of a benchmark_model here.
        workdir: the directory there in which the session's own is made.
        accept_new: take the key of a host that was never seen.
        options: more options for ssh, as "Name=value".
        adb: another adb program.
        pin: the cores to measure on.
        profile: what kind of board it is: one of devices/profiles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str
    python: str = "python3"
    runner: str = PYTHON
    workdir: str | None = None
    accept_new: bool = False
    options: tuple[str, ...] = ()
    adb: str = "adb"
    pin: str | None = None
    profile: str | None = None

    def changed(self, changes: Mapping[str, Any]) -> Device:
        """The same device with other settings."""
        return self.model_copy(update=dict(changes))

    @property
    def program(self) -> str:
        """The Python that runs the agent: on this machine this one, unless another is named."""
        here = self.address == "local" and self.python == "python3"
        return sys.executable if here else self.python

    def connect(self) -> Transport:
        """Open the link.

        Raises:
            LinkError: the device cannot be reached.
            UnknownDeviceError: the address is of no known kind.
        """
        if self.address == "local":
            return LocalTransport()
        if self.address.startswith("ssh://"):
            target = parse_url(self.address, accept_new=self.accept_new, options=self.options)
            return open_ssh(target, parent=self.workdir or "/tmp")  # noqa: S108
        if self.address.startswith("adb:"):
            serial = self.address.removeprefix("adb:")
            return open_adb(serial, parent=self.workdir or TEMPORARY, program=self.adb)
        raise UnknownDeviceError(
            f"'{self.address}' is no device's address",
            expected="local, ssh://user@host[:port], or adb:SERIAL",
        )

    def open(self) -> Session:
        """Open a session."""
        transport = self.connect()
        try:
            runner = self._runner(transport)
            python = expanded(self.program, transport)
            return Session(transport, python, runner=runner, name=self.name, pin=self.pin)
        except BaseException:
            transport.close()
            raise

    def _runner(self, transport: Transport) -> Runner | None:
        if self.runner == PYTHON:
            return None
        cargo = Cargo(transport)
        if self.runner == NATIVE:
            return NativeRunner(transport, cargo, bundle_for(read_state(transport).machine))
        return BenchmarkModel(transport, cargo, Path(self.runner).expanduser())


def expanded(python: str, transport: Transport) -> str:
    """The program's path on the device, where "~/" is the home directory there."""
    if not python.startswith("~/"):
        return python
    home = transport.run(["sh", "-c", 'printf %s "$HOME"'], timeout_s=30).stdout
    return f"{home}{python[1:]}"


def devices_files() -> list[Path]:
    """Where devices.toml is looked for."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return [Path(FILE_NAME), Path(home, "edgewright", FILE_NAME)]


def load_devices(path: Path | None = None) -> dict[str, Device]:
    """The devices by name: of `path`, else of the first devices.toml found, else none.

    Raises:
        DevicesFileError: the file cannot be read, or does not fit; the message names the key.
    """
    found = path or next((one for one in devices_files() if one.is_file()), None)
    if found is None:
        return {}
    try:
        tables = tomllib.loads(found.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DevicesFileError(f"{found} cannot be read", found=str(error)) from None
    return {name: _device(found, name, table) for name, table in tables.items()}


def _device(path: Path, name: str, table: object) -> Device:
    if not isinstance(table, dict) or name == "all" or "name" in table:
        raise DevicesFileError(
            f"{path} has no table for a device '{name}'",
            expected='a table such as [pi4] with address = "ssh://..."; "all" is every device',
            found=repr(table)[:200],
        )
    try:
        device = Device.model_validate({**table, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        near = difflib.get_close_matches(key, list(Device.model_fields), 1)
        raise DevicesFileError(
            f"{path}: the device '{name}' does not fit",
            expected="the keys " + ", ".join(key for key in Device.model_fields if key != "name"),
            found=f"{key}: {first['msg']}",
            remedy=f"did you mean '{near[0]}'?" if near and near[0] != key else "",
        ) from None
    if device.profile is not None and device.profile not in PROFILE_NAMES:
        raise DevicesFileError(
            f"{path}: the device '{name}' has no profile '{device.profile}'",
            expected=", ".join(PROFILE_NAMES),
        )
    return device


def find_device(name: str, devices: Mapping[str, Device]) -> Device:
    """A device by its name, or by its address.

    Raises:
        UnknownDeviceError: it is neither.
    """
    if name in devices:
        return devices[name]
    if name == "local" or name.startswith(("ssh://", "adb:")):
        return Device(name=name, address=name)
    available = ", ".join((*devices, "local"))
    near = difflib.get_close_matches(name, [*devices, "local"], 1)
    raise UnknownDeviceError(
        f"there is no device '{name}'",
        expected="local, ssh://user@host, adb:SERIAL, or a name of devices.toml",
        found=f"'{name}'" + (f": did you mean '{near[0]}'?" if near else ""),
        remedy=f"use one of those available: {available}",
    )
