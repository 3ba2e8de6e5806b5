"""A wire that tests can cut: a proxy on loopback, in front of any TCP port."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """Carries bytes to a port; drops by hand, or once after `cut_after` bytes to the device."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.cut_after: int | None = None
        self.carried = 0
        self.carried_enough = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self):
        """Break every connection and take no other one."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self._thread.join(10)
        self.drop()

    def drop(self):
        """Break every connection; the next one will work."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets.append(far)
                for one, other, counted in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._carry, args=(one, other, counted), daemon=True
                    ).start()

    def _carry(self, source, sink, counted):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.carried += len(data) if counted else 0
                if counted and self.cut_after is not None and self.carried >= self.cut_after:
                    self.cut_after = None
                    self.drop()
                    self.carried_enough.set()
                    return
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
