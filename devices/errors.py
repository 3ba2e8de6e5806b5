"""Errors of reaching and using a device. Exit code 3.

DeviceError
├── UnknownDeviceError      no such device is configured (exit code 2)
├── DeviceTimeoutError      the device did not answer in time
└── AgentError              the agent on the device crashed or answered rubbish
"""

from __future__ import annotations

from runtimes.errors import EdgewrightError


class DeviceError(EdgewrightError):
    """The device or the link to it failed."""

    exit_code = 3


class UnknownDeviceError(DeviceError):
    """A device name that is neither `local` nor configured."""

    exit_code = 2


class DeviceTimeoutError(DeviceError):
    """A command on the device ran past its time limit."""


class AgentError(DeviceError):
    """The agent on the device died (its signal is named) or its answer is not a report."""
