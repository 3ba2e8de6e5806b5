"""A device behind a link: commands and files go through it, and nothing is left when it ends.

A keeper process on the device makes the work directory and waits for the end of its stdin, which
comes with `close`, with Ctrl-C, with the death of this program, or with the link's own end. It then
kills what still runs and removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from devices import scripts
from devices.errors import (
    FREE_SPACE,
    DeviceError,
    DeviceTimeoutError,
    LinkError,
    MissingToolError,
    NoSpaceError,
)
from devices.process import Completed, kill, run_process
from devices.transport import Result, not_started, plain_name, ran_too_long

OPEN_TIMEOUT_S = 30.0
SMALL_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 10.0
# The slowest link that a push or pull is still waited for: a phone's bad Wi-Fi.
SLOWEST_BYTES_PER_S = 100_000

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # a shell's exit codes


class Link(Protocol):
    """One kind of link: how a shell script and a file get to the device."""

    @property
    def name(self) -> str:
        """What reports call the device."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables for the link's program."""

    def connect(self) -> None:
        """Make the link ready; raises LinkError."""

    def shell(self, script: str) -> list[str]:
        """The command line here that runs a POSIX script there."""

    def send(self, local: Path, target: str, timeout_s: float) -> None:
        """Bring a file to the path `target`, which may be left incomplete."""

    def failure(self, said: str, *, stood: bool) -> DeviceError:
        """The error behind what the link's program said; `stood`: the link was there before."""

    def close(self) -> None:
        """Let the link go."""


class RemoteTransport:
    """Runs commands on a device behind a link; see `devices.transport.Transport`.

    Args:
        link: the link, which this transport closes.
        parent: the directory on the device in which the work directory is made.

    Raises:
        LinkError: the device cannot be reached; the subclass says why.
    """

    def __init__(self, link: Link, *, parent: str = "/tmp") -> None:  # noqa: S108 - it is made there by mktemp
        self._link = link
        self._keeper: subprocess.Popen[bytes] | None = None
        self.workdir = ""
        try:
            link.connect()
            self.workdir = self._start_keeper(parent)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """What reports call the device."""
        return self._link.name

    def __enter__(self) -> RemoteTransport:
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
        target = f"{self.workdir}/{plain_name(name)}"
        part = f"{self.workdir}/.{name}.part"
        try:
            status = local.stat()
        except OSError as error:
            raise DeviceError(f"{local} cannot be copied", found=str(error)) from None
        self._link.send(local, part, _transfer_limit_s(status.st_size))
        mode = "700" if status.st_mode & 0o100 else "600"
        mark = _mark()
        answer = self._ask(scripts.settle(part, target, status.st_size, mode, mark), mark)
        if answer.status != 0:
            raise NoSpaceError(
                f"{local.name} did not fit on {self.name}",
                expected=f"room for {status.st_size} bytes in {self.workdir}",
                found=" ".join(answer.before.decode("utf-8", "replace").split()) or "less",
                remedy=FREE_SPACE,
            )
        return target

    def pull(self, name: str, local: Path) -> None:
        """Copy a file of the work directory here, whole or not at all."""
        mark = _mark()
        script = scripts.send(f"{self.workdir}/{plain_name(name)}", mark)
        answer = self._ask(script, mark, timeout_s=SMALL_TIMEOUT_S * 10)
        temporary = local.with_name(f".{local.name}.{os.getpid()}.part")
        try:
            if answer.status != 0:
                raise OSError(f"no such file in {self.workdir}")
            temporary.write_bytes(answer.before)
            os.replace(temporary, local)
        except OSError as error:
            raise DeviceError(
                f"{name} cannot be copied from the device to {local}", found=str(error)
            ) from None
        finally:
            temporary.unlink(missing_ok=True)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Result:
        """Run a command in the work directory; a late one goes with all that it started."""
        token, mark = secrets.token_hex(4), _mark()
        script = scripts.command(argv, workdir=self.workdir, stdin=stdin, token=token, mark=mark)
        try:
            answer = self._ask(script, mark, timeout_s=timeout_s)
        except BaseException as error:  # Ctrl-C too: what runs there would go on
            if not isinstance(error, LinkError):
                mark = _mark()
                with contextlib.suppress(DeviceError):
                    self._ask(scripts.stop(self.workdir, token, mark), mark)
            if isinstance(error, DeviceTimeoutError):
                raise ran_too_long(argv[0], timeout_s) from None
            raise
        stdout, stderr = (
            text.decode("utf-8", "replace").replace("\r\n", "\n")
            for text in (answer.before, answer.after)
        )
        if answer.status in (NOT_FOUND, NOT_EXECUTABLE) and not stdout:
            raise not_started(argv[0], stderr.strip())
        return Result(answer.status, stdout, stderr)

    def close(self) -> None:
        """End the keeper, which removes the work directory; where it is gone, do its work."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            lost = keeper.poll() is not None
            if (not _ended(keeper) or lost) and self.workdir:
                self._sweep()
        self._link.close()

    def _start_keeper(self, parent: str) -> str:
        mark = _mark()
        argv = self._link.shell(scripts.keeper(parent, mark))
        try:
            keeper = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._link.environment,
                start_new_session=True,
            )
        except OSError as error:
            raise missing_tool(argv[0], error) from None
        self._keeper = keeper
        # What a login shell prints first is no answer; a link that hangs is ended.
        timer = threading.Timer(OPEN_TIMEOUT_S, kill, (keeper,))
        timer.start()
        try:
            stream = _stream(keeper.stdout)
            answer, seen = None, b""
            while answer is None and (line := stream.readline()):
                seen += line
                answer = scripts.find_answer(line, mark)
        finally:
            timer.cancel()
        if answer is None:
            self._keeper = None
            said = (keeper.communicate()[1] or seen).decode("utf-8", "replace").strip()
            if "No space left" in said:
                raise NoSpaceError(
                    f"{parent} on {self.name} is full",
                    found=said,
                    remedy=FREE_SPACE,
                )
            raise self._link.failure(said, stood=False)
        return answer.after.decode("utf-8", "replace").strip()

    def _ask(self, script: str, mark: str, *, timeout_s: float = SMALL_TIMEOUT_S) -> scripts.Answer:
        done = call(self._link, self._link.shell(script), timeout_s=timeout_s)
        answer = scripts.find_answer(done.stdout, mark)
        if answer is None:
            raise self._link.failure(done.stderr_text, stood=True)
        return answer

    def _sweep(self) -> None:
        """Clean up over a new link, if there is one again; the keeper may still do it if not."""
        mark = _mark()
        with contextlib.suppress(DeviceError):
            self._link.close()
            self._link.connect()
            self._ask(scripts.sweep(self.workdir, mark), mark, timeout_s=CLOSE_TIMEOUT_S)


def call(
    link: Link, argv: Sequence[str], *, timeout_s: float, stdin: bytes | IO[bytes] = b""
) -> Completed:
    """Run the link's program here.

    Raises:
        MissingToolError: it is not installed.
        DeviceTimeoutError: it ran past the limit.
    """
    try:
        return run_process(argv, timeout_s=timeout_s, stdin=stdin, environment=link.environment)
    except OSError as error:
        raise missing_tool(argv[0], error) from None
    except subprocess.TimeoutExpired:
        raise DeviceTimeoutError(
            f"{link.name} did not answer in time", expected=f"an answer within {timeout_s:g} s"
        ) from None


def missing_tool(program: str, error: OSError) -> MissingToolError:
    """The error of a program that this machine lacks."""
    packages = {"ssh": "openssh-client", "adb": "adb (or: pip install adbutils)"}
    return MissingToolError(
        f"'{program}' cannot be started on this machine",
        found=str(error),
        remedy=f"install {packages.get(Path(program).name, program)}",
    )


def _mark() -> str:
    return f"@@{secrets.token_hex(8)}"


def _transfer_limit_s(size_bytes: int) -> float:
    return SMALL_TIMEOUT_S + size_bytes / SLOWEST_BYTES_PER_S


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the process has no pipe there")
    return stream


def _ended(keeper: subprocess.Popen[bytes]) -> bool:
    """Let the keeper end by itself; whether it did, and well."""
    try:
        keeper.communicate(b"\n", timeout=CLOSE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        kill(keeper)
        keeper.communicate()
        return False
    return keeper.returncode == 0
