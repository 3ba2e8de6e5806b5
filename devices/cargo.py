"""What a session has brought to the device: each file once, under a name of its own."""

from __future__ import annotations

from pathlib import Path

from devices.transport import Transport
from runtimes.errors import ModelError


class Cargo:
    """Carries files to a device and remembers them.

    Two files of one name lie beside each other, so that a model can be compared with its older
    self. A file that has changed here is carried again.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._there: dict[Path, tuple[tuple[int, int], str]] = {}
        self._names: set[str] = set()

    def carry(self, path: Path) -> str:
        """Bring a file, if it is not there yet; gives its path on the device.

        Raises:
            ModelError: there is no such file here.
            DeviceError: the link failed, or the device is full.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise ModelError(
                f"{path} is missing", expected="a file", found=error.strerror or ""
            ) from None
        path, version = path.resolve(), (status.st_mtime_ns, status.st_size)
        if path in self._there and self._there[path][0] == version:
            return self._there[path][1]
        known = self._there.get(path)
        name = Path(known[1]).name if known is not None else self._free_name(path.name)
        place = self._transport.push(path, name)
        self._there[path] = version, place
        return place

    def _free_name(self, name: str) -> str:
        free, count = name, 1
        while free in self._names:
            count += 1
            free = f"{count}.{name}"
        self._names.add(free)
        return free
