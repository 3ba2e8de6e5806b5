"""Devices over ssh: the OpenSSH program itself, with all of ~/.ssh/config, and never a question.

One connection carries everything (ControlMaster): the keeper's is the first, and the commands
go through it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices import scripts
from devices.errors import (
    AuthenticationError,
    DeviceError,
    HostKeyError,
    LinkError,
    LinkLostError,
    UnknownDeviceError,
    UnreachableError,
)
from devices.remote import RemoteTransport, call

CONNECT_TIMEOUT_S = 10
ALIVE_INTERVAL_S, ALIVE_COUNT = 5, 3  # a link that says nothing for 15 s is lost


@dataclass(frozen=True)
class SshTarget:
    """Where to: `host` may be an alias of ~/.ssh/config.

    Attributes:
        accept_new: take the key of a host that was never seen, and remember it.
        options: more options of ssh_config(5), as "Name=value".
    """

    host: str
    user: str | None = None
    port: int | None = None
    accept_new: bool = False
    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """As people name it: ssh://user@host:port."""
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{self.host}" + (f":{self.port}" if self.port else "")

    @property
    def destination(self) -> str:
        """As a command line of ssh has it: -p port user@host."""
        port = f"-p {self.port} " if self.port else ""
        return port + (f"{self.user}@{self.host}" if self.user else self.host)


def parse_url(url: str, *, accept_new: bool = False, options: tuple[str, ...] = ()) -> SshTarget:
    """A target of `ssh://[user@]host[:port]`.

    Raises:
        UnknownDeviceError: it is none.
    """
    match = re.fullmatch(
        r"ssh://(?:(?P<user>[^@/:\s-][^@/:\s]*)@)?(?P<host>\[[0-9a-fA-F:.]+(?:%\w+)?\]|[\w.][\w.-]*)"
        r"(?::(?P<port>\d{1,5}))?/?",
        url,
    )
    if match is None or int(match["port"] or 22) > 65535:
        raise UnknownDeviceError(f"'{url}' is no ssh address", expected="ssh://[user@]host[:port]")
    return SshTarget(
        match["host"].strip("[]"),
        match["user"],
        int(match["port"]) if match["port"] else None,
        accept_new,
        options,
    )


class SshLink:
    """The ssh program on the way to one host; see `devices.remote.Link`."""

    def __init__(self, target: SshTarget) -> None:
        self._target = target
        self.name = target.url
        self.environment = {**os.environ, "LC_ALL": "C"}
        self._sockets = ""

    def connect(self) -> None:
        """Make a place for the shared connection's socket."""
        self._sockets = tempfile.mkdtemp(prefix="ew-")  # a socket's path is 108 bytes at most

    def shell(self, script: str) -> list[str]:
        """The ssh command that runs a script; the login shell there only starts sh."""
        return [
            "ssh",
            *self._options(),
            "--",
            self._target.host,
            "exec",
            "sh",
            "-c",
            shlex.quote(script),
        ]

    def send(self, local: Path, target: str, timeout_s: float) -> None:
        """Stream a file into another there."""
        mark = "@@received"
        argv = self.shell(scripts.receive(target, mark))
        with local.open("rb") as stream:
            done = call(self, argv, timeout_s=timeout_s, stdin=stream)
        if scripts.find_answer(done.stdout, mark) is None:
            raise self.failure(done.stderr_text, stood=True)

    def failure(self, said: str, *, stood: bool) -> DeviceError:
        """The error behind what ssh said."""
        return ssh_failure(self._target, said, stood=stood)

    def close(self) -> None:
        """Remove the socket's directory; the shared connection has gone with the keeper."""
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = ""

    def _options(self) -> list[str]:
        target = self._target
        checking = "accept-new" if target.accept_new else "yes"
        options = [
            *target.options,
            "BatchMode=yes",
            f"StrictHostKeyChecking={checking}",
            f"ConnectTimeout={CONNECT_TIMEOUT_S}",
            f"ServerAliveInterval={ALIVE_INTERVAL_S}",
            f"ServerAliveCountMax={ALIVE_COUNT}",
            "ControlMaster=auto",
            f"ControlPath={self._sockets}/s",
            "ControlPersist=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "RequestTTY=no",
            *([f"User={target.user}"] if target.user else []),
            *([f"Port={target.port}"] if target.port else []),
        ]
        return [word for option in options for word in ("-o", option)]


# What ssh says, which error that is, and what to do. The first that fits counts.
_SAYINGS: tuple[tuple[str, type[LinkError], str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        HostKeyError,
        "{url} has another host key than before",
        "if you know why (a new SD card), remove the old one: ssh-keygen -R {known}; "
        "if not, someone may be in between",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        HostKeyError,
        "the host key of {url} is not known here",
        "connect once by hand and compare it: ssh {destination}; or use --accept-new",
    ),
    (
        r"Permission denied \(|Too many authentication failures",
        AuthenticationError,
        "{url} refuses the keys of this machine",
        "bring your public key there: ssh-copy-id {destination}; "
        "a key with a passphrase must be in ssh-agent",
    ),
    (
        r"Could not resolve hostname",
        UnreachableError,
        "there is no host '{host}'",
        "check the name, or use the address",
    ),
    (
        r"Connection refused|No route to host|timed out|Network is unreachable",
        UnreachableError,
        "{url} cannot be reached",
        "check that it is on, in this network, and that ssh is enabled there",
    ),
)
_LOST = (
    LinkLostError,
    "the link to {url} broke",
    "check power and network, and run it again: nothing is left there",
)
_NO_LINK = (UnreachableError, "{url} gives no shell", "try by hand: ssh {destination} true")


def ssh_failure(target: SshTarget, said: str, *, stood: bool) -> LinkError:
    """The error behind what ssh wrote on stderr; `stood`: the link was there before."""
    kind, problem, remedy = _LOST if stood else _NO_LINK
    if not stood:
        for pattern, *rest in _SAYINGS:
            if re.search(pattern, said):
                kind, problem, remedy = rest  # type: ignore[assignment]
                break
    names = {
        "url": target.url,
        "host": target.host,
        "known": f"'[{target.host}]:{target.port}'" if target.port else target.host,
        "destination": target.destination,
    }
    return kind(
        problem.format(**names),
        found="; ".join(said.splitlines()[-3:]) or "nothing said",
        remedy=remedy.format(**names),
    )


def open_ssh(target: SshTarget, *, parent: str = "/tmp") -> RemoteTransport:  # noqa: S108
    """Connect to a host; the transport's directory is made in `parent` there."""
    return RemoteTransport(SshLink(target), parent=parent)
