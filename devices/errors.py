"""Errors of reaching and using a device. Exit code 3, but for what the user can mend in a file.

DeviceError
├── UnknownDeviceError      no such device is configured (exit code 2)
├── DevicesFileError        devices.toml does not fit (exit code 2)
├── PinError                there are no such cores to pin to (exit code 2)
├── MissingToolError        ssh, adb or a compiler is missing on this machine
├── LinkError               the device cannot be reached, or not any more
│   ├── UnreachableError    nothing answers at that address, or no such phone is attached
│   ├── HostKeyError        the host key is unknown, or another one than before
│   ├── AuthenticationError the device refuses our key
│   ├── UnauthorizedError   the phone has not allowed debugging from this machine
│   └── LinkLostError       the link broke after it had stood
├── NoSpaceError            the device's disk is full
├── DeviceTimeoutError      the device did not answer in time
└── AgentError              the agent on the device answered rubbish
    └── CrashError          it died by a signal, which is named
"""

from __future__ import annotations

from runtimes.errors import EdgewrightError

FREE_SPACE = "free space there, or name another directory: workdir in devices.toml"
"""What to do about a full disk, wherever it shows."""


class DeviceError(EdgewrightError):
    """The device or the link to it failed."""

    exit_code = 3


class UnknownDeviceError(DeviceError):
    """A device name that is neither an address nor configured."""

    exit_code = 2


class DevicesFileError(DeviceError):
    """devices.toml cannot be read, or says something that does not fit."""

    exit_code = 2


class PinError(DeviceError):
    """The cores to pin to are not there, or which they are is unknown."""

    exit_code = 2


class MissingToolError(DeviceError):
    """A program that this machine needs for the device is not installed."""


class LinkError(DeviceError):
    """The device cannot be reached, or not any more."""


class UnreachableError(LinkError):
    """Nothing answers at the address, or no such phone is attached."""


class HostKeyError(LinkError):
    """The host key is not known yet, or is another one than before."""


class AuthenticationError(LinkError):
    """The device refuses the keys that this machine offers."""


class UnauthorizedError(LinkError):
    """The phone's owner has not allowed debugging from this machine."""


class LinkLostError(LinkError):
    """The link broke after it had stood."""


class NoSpaceError(DeviceError):
    """The device's disk is full."""


class DeviceTimeoutError(DeviceError):
    """A command on the device ran past its time limit."""


class AgentError(DeviceError):
    """The answer of the agent on the device is not a report."""


class CrashError(AgentError):
    """The agent on the device died by a signal, most often inside the interpreter."""
