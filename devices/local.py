"""This machine as a device: the same route as a remote one, through a private directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from devices.errors import DeviceError, DeviceTimeoutError
from devices.transport import Result


class LocalTransport:
    """Runs commands on this machine, in a directory that nobody else can read.

    The directory goes with `close`, with the `with` block, or at the latest when Python exits.
    """

    name = "local"

    def __init__(self) -> None:
        self.workdir = tempfile.mkdtemp(prefix="edgewright-")
        self._remove = weakref.finalize(self, shutil.rmtree, self.workdir, ignore_errors=True)

    def __enter__(self) -> LocalTransport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def push(self, local: Path, name: str) -> str:
        """Copy a file into the work directory; gives its path there."""
        target = self._inside(name)
        try:
            shutil.copyfile(local, target)
        except OSError as error:
            raise DeviceError(f"{local} cannot be copied to the device", found=str(error)) from None
        return str(target)

    def pull(self, name: str, local: Path) -> None:
        """Copy a file of the work directory out, whole or not at all."""
        temporary = local.with_name(f".{local.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(self._inside(name), temporary)
            os.replace(temporary, local)
        except OSError as error:
            raise DeviceError(
                f"{name} cannot be copied from the device to {local}", found=str(error)
            ) from None
        finally:
            temporary.unlink(missing_ok=True)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Result:
        """Run a command in the work directory; a late one goes with all that it started."""
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=self.workdir,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise DeviceError(
                f"'{argv[0]}' cannot be started on the device",
                found=str(error),
                remedy="name a program that is there, such as another Python",
            ) from None
        with process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise DeviceTimeoutError(
                    f"'{argv[0]}' did not end in time",
                    expected=f"an answer within {timeout_s:g} s",
                    remedy="give it more time, or look at what holds the device up",
                ) from None
            except BaseException:
                _kill(process)
                raise
        return Result(process.returncode, stdout, stderr)

    def close(self) -> None:
        """Remove the work directory."""
        self._remove()

    def _inside(self, name: str) -> Path:
        if name in ("", ".", "..") or Path(name).name != name:
            raise DeviceError(
                f"'{name}' is no plain file name", expected="a name without directories"
            )
        return Path(self.workdir, name)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and its children: it leads a session, and so a process group, of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
