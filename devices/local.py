"""This machine as a device: the same route as a remote one, through a private directory."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from devices.errors import DeviceError, NoSpaceError
from devices.process import kill, run_process
from devices.transport import Result, not_started, plain_name, ran_too_long


class LocalTransport:
    """Runs commands on this machine, in a directory that nobody else can read.

    The directory goes with `close`, with the `with` block, or at the latest when Python exits.
    """

    name = "local"

    def __init__(self) -> None:
        self.workdir = tempfile.mkdtemp(prefix="edgewright-")
        self._running: list[subprocess.Popen[bytes]] = []
        self._closed = False
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
            shutil.copy(local, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            kind = NoSpaceError if error.errno == errno.ENOSPC else DeviceError
            raise kind(f"{local} cannot be copied to the device", found=str(error)) from None
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
            done = run_process(
                argv,
                timeout_s=timeout_s,
                stdin=stdin.encode(),
                cwd=self.workdir,
                started=self._remember,
            )
        except OSError as error:
            raise not_started(argv[0], str(error)) from None
        except subprocess.TimeoutExpired:
            raise ran_too_long(argv[0], timeout_s) from None
        texts = [text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)]
        return Result(done.returncode, *texts)

    def close(self) -> None:
        """Kill what still runs for another thread, and remove the work directory."""
        self._closed = True
        for process in self._running:
            if process.poll() is None:
                kill(process)
        self._remove()

    def _remember(self, process: subprocess.Popen[bytes]) -> None:
        self._running = [*(one for one in self._running if one.poll() is None), process]
        if self._closed:  # by another thread, while this process started
            kill(process)

    def _inside(self, name: str) -> Path:
        return Path(self.workdir, plain_name(name))
