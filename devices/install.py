"""The command that brings interpreters to a device's Python, as one types it on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from devices.config import Device, expanded
from devices.errors import DeviceError
from devices.ssh import parse_url
from devices.transport import Transport

ARM_32 = ("armv6l", "armv7l", "armv8l")
TIMEOUT_S = 30.0
VENV = "~/edgewright"
# PEP 668: the Python of Debian 12 and Raspberry Pi OS 12 lets pip install into environments alone.
IS_MANAGED = (
    "import os, sys, sysconfig; print(sys.prefix == sys.base_prefix and "
    "os.path.exists(os.path.join(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED')))"
)


def tflite_packages(machine: str | None) -> tuple[str, ...]:
    """What pip has for .tflite files; on 32-bit ARM that is the last tflite-runtime alone."""
    return ("tflite-runtime", "numpy<2") if machine in ARM_32 else ("ai-edge-litert",)


def onnx_packages(machine: str | None) -> tuple[str, ...]:
    """What pip has for .onnx and .ort files: nothing on 32-bit ARM."""
    return () if machine in ARM_32 else ("onnxruntime",)


def install_command(device: Device, transport: Transport, packages: Sequence[str]) -> str:
    """The command that installs packages for the Python that the device is configured with.

    Where that Python refuses, the command makes an environment, and devices.toml must name it.
    """
    python, then = device.program, ""
    command = shlex.join(["-m", "pip", "install", *packages])
    if _is_managed(device, transport):
        command = f"{python} -m venv {VENV} && {VENV}/bin/python {command}"
        then = f'; then in devices.toml: python = "{VENV}/bin/python"'
    else:
        command = f"{python} {command}"
    if device.address.startswith("ssh://"):
        command = f"ssh {parse_url(device.address).destination} {_quoted(command)}"
    return command + then


def _is_managed(device: Device, transport: Transport) -> bool:
    argv = [expanded(device.program, transport), "-c", IS_MANAGED]
    try:
        return transport.run(argv, timeout_s=TIMEOUT_S).stdout.strip() == "True"
    except DeviceError:
        return False


def _quoted(command: str) -> str:
    """One word for a shell here, the device's shell reads it again: quotes inside stay readable."""
    return shlex.quote(command) if set('"$`\\!') & set(command) else f'"{command}"'
