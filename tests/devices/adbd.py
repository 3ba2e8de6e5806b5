"""A small adbd for tests: the real adb client talks to it over TCP, and it serves a chroot.

It knows the transport's messages (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE), the services `shell` in
both forms and `sync:` (STAT, STA2, SEND, RECV), and can refuse to authorize as a locked phone does.
usage: adbd.py ROOT [--legacy] [--locked]; prints its port, and serves until it is killed.
The protocol is described in AOSP, packages/modules/adb: protocol.txt, SERVICES.TXT, SYNC.TXT.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

VERSION, MAX_PAYLOAD = 0x01000001, 256 * 1024  # from this version on, checksums are not looked at
AUTH_SIGNATURE = 2
SHELL_USER = 2000
ENVIRONMENT = {"PATH": "/system/bin:/bin", "HOME": "/", "TMPDIR": "/data/local/tmp"}
KEPT = ("QEMU_CPU",)  # which CPU is emulated, for programs of another machine
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = 0, 1, 2, 3, 4


class Adbd:
    """Serves `root` on a port of loopback."""

    def __init__(self, root: Path, *, shell_v2: bool = True, authorized: bool = True) -> None:
        self.root = root
        self.shell_v2 = shell_v2
        self.authorized = authorized
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    @property
    def banner(self):
        features = "shell_v2,cmd,stat_v2" if self.shell_v2 else "cmd"
        properties = "ro.product.name=bench;ro.product.model=Bench Phone;ro.product.device=bench"
        return f"device::{properties};features={features}".encode()

    def path(self, text):
        return self.root / posixpath.normpath("/" + text).lstrip("/")

    def serve(self):
        while True:
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(self, client).serve, daemon=True).start()


class Connection:
    """One client: messages of 24 bytes and a payload, which streams share."""

    def __init__(self, daemon: Adbd, client: socket.socket) -> None:
        self.daemon = daemon
        self._client = client
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self.max_payload = 4096

    def send(self, command, first, second, data=b""):
        number = int.from_bytes(command, "little")
        head = struct.pack("<6I", number, first, second, len(data), 0, number ^ 0xFFFFFFFF)
        with self._lock:
            self._client.sendall(head + data)

    def serve(self):
        try:
            while True:
                command, first, second, size, _, _ = struct.unpack("<4s5I", self._exactly(24))
                self._handle(command, first, second, self._exactly(size))
        except (EOFError, OSError):
            pass
        finally:
            for stream in list(self._streams.values()):
                stream.end()
            self._client.close()

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            chunk = self._client.recv(size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def _handle(self, command, first, second, data):
        if command == b"CNXN":
            self.max_payload = min(second, MAX_PAYLOAD)
            if self.daemon.authorized:
                self.send(b"CNXN", VERSION, MAX_PAYLOAD, self.daemon.banner)
            else:
                self.send(b"AUTH", 1, 0, os.urandom(20))
        elif command == b"AUTH":
            # No signature is good enough. To a public key a phone asks its user, and says nothing.
            if first == AUTH_SIGNATURE:
                self.send(b"AUTH", 1, 0, os.urandom(20))
        elif command == b"OPEN":
            self._open(first, data.rstrip(b"\0").decode())
        elif command == b"CLSE":
            stream = self._streams.pop(second, None)
            if stream is not None:
                stream.end()
        elif second in self._streams:
            self._streams[second].receive(command, data)

    def _open(self, remote, name):
        service, _, argument = name.partition(":")
        kind, *options = service.split(",")
        if kind not in ("shell", "exec", "sync"):
            self.send(b"CLSE", 0, remote)
            return
        stream = Stream(self, len(self._streams) + 1, remote)
        while stream.local in self._streams:
            stream.local += 1
        self._streams[stream.local] = stream
        self.send(b"OKAY", stream.local, remote)
        if kind == "sync":
            work, arguments = sync, (self.daemon, stream)
        else:
            work, arguments = shell, (self.daemon.root, stream, argument, "v2" in options)
        threading.Thread(target=self._run, args=(work, arguments), daemon=True).start()

    def _run(self, work, arguments):
        with contextlib.suppress(EOFError, OSError, struct.error):
            work(*arguments)
        stream = arguments[1]
        if not stream.ended:
            with contextlib.suppress(OSError):
                self.send(b"CLSE", stream.local, stream.remote)
            stream.end()


class Stream:
    """One service's bytes in both directions; each write waits for the client's OKAY."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.local, self.remote = local, remote
        self.ended = False
        self._connection = connection
        self._changed = threading.Condition()
        self._data = b""
        self._credit = 1

    def receive(self, command, data):
        with self._changed:
            if command == b"WRTE":
                self._data += data
            else:
                self._credit += 1
            self._changed.notify_all()
        if command == b"WRTE":
            self._connection.send(b"OKAY", self.local, self.remote)

    def end(self):
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def read(self, size):
        with self._changed:
            self._changed.wait_for(lambda: len(self._data) >= size or self.ended)
            if len(self._data) < size:
                raise EOFError
            data, self._data = self._data[:size], self._data[size:]
            return data

    def write(self, data):
        step = self._connection.max_payload
        for start in range(0, len(data), step):
            with self._changed:
                self._changed.wait_for(lambda: self._credit or self.ended)
                if self.ended:
                    raise EOFError
                self._credit -= 1
            chunk = data[start : start + step]
            self._connection.send(b"WRTE", self.local, self.remote, chunk)


def shell(root, stream, command, v2):
    """Run a command as the shell user in the chroot."""
    enter = ["/usr/sbin/chroot", f"--userspec={SHELL_USER}:{SHELL_USER}", "--groups=", str(root)]
    process = subprocess.Popen(
        [*enter, "/bin/sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
        env={**ENVIRONMENT, **{key: os.environ[key] for key in KEPT if key in os.environ}},
        start_new_session=True,
    )
    threading.Thread(target=_feed, args=(process, stream, v2), daemon=True).start()
    pumps = [
        threading.Thread(target=_pump, args=(pipe, stream, number if v2 else None), daemon=True)
        for pipe, number in ((process.stdout, STDOUT), (process.stderr, STDERR))
        if pipe is not None
    ]
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    status = process.wait()
    if v2:
        code = status if status >= 0 else 128 - status
        stream.write(struct.pack("<BIB", EXIT, 1, code))


def _feed(process, stream, v2):
    """Bring the client's bytes to the process; when the client goes, hang up as adbd does."""
    with contextlib.suppress(EOFError, OSError, ValueError):
        while True:
            kind, size = struct.unpack("<BI", stream.read(5)) if v2 else (STDIN, 1)
            data = stream.read(size)
            if kind == STDIN:
                process.stdin.write(data)
                process.stdin.flush()
            elif kind == CLOSE_STDIN:
                process.stdin.close()
    with contextlib.suppress(OSError):
        process.stdin.close()
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)


def _pump(pipe, stream, number):
    with pipe, contextlib.suppress(EOFError, OSError):
        while data := os.read(pipe.fileno(), 32768):
            head = struct.pack("<BI", number, len(data)) if number is not None else b""
            stream.write(head + data)


def sync(daemon, stream):
    """Files in and out."""
    handlers = {b"STAT": _stat, b"STA2": _stat2, b"SEND": _receive_file, b"RECV": _send_file}
    while True:
        command, size = struct.unpack("<4sI", stream.read(8))
        if command == b"QUIT":
            return
        handlers[command](daemon, stream, stream.read(size).decode())


def _stat(daemon, stream, text):
    try:
        found = daemon.path(text).lstat()
        fields = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
    except OSError:
        fields = (0, 0, 0)
    stream.write(struct.pack("<4s3I", b"STAT", *fields))


def _stat2(daemon, stream, text):
    error, fields = 0, (0,) * 10
    try:
        found = daemon.path(text).stat()
    except OSError as problem:
        error = problem.errno
    else:
        times = [int(time) for time in (found.st_atime, found.st_mtime, found.st_ctime)]
        owner = (found.st_nlink, found.st_uid, found.st_gid, found.st_size)
        fields = (found.st_dev, found.st_ino, found.st_mode, *owner, *times)
    stream.write(struct.pack("<4sIQQIIIIQqqq", b"STA2", error, *fields))


def _receive_file(daemon, stream, text):
    name, _, mode = text.rpartition(",")
    path, error = daemon.path(name), ""
    try:
        file = path.open("wb")
        os.chown(path, SHELL_USER, SHELL_USER)
        path.chmod(int(mode) & 0o777)
    except OSError as problem:
        file, error = None, problem.strerror
    while True:
        kind, size = struct.unpack("<4sI", stream.read(8))
        if kind == b"DONE":
            break
        data = stream.read(size)
        try:
            if not error:
                file.write(data)
                file.flush()
        except OSError as problem:
            error = problem.strerror
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()
    if error:
        stream.write(struct.pack("<4sI", b"FAIL", len(error)) + error.encode())
    else:
        stream.write(struct.pack("<4sI", b"OKAY", 0))


def _send_file(daemon, stream, text):
    try:
        data = daemon.path(text).read_bytes()
    except OSError as problem:
        said = problem.strerror.encode()
        stream.write(struct.pack("<4sI", b"FAIL", len(said)) + said)
        return
    for start in range(0, len(data), 65536):
        chunk = data[start : start + 65536]
        stream.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
    stream.write(struct.pack("<4sI", b"DONE", 0))


if __name__ == "__main__":
    served = Adbd(
        Path(sys.argv[1]),
        shell_v2="--legacy" not in sys.argv,
        authorized="--locked" not in sys.argv,
    )
    print(served.port, flush=True)
    served.serve()
