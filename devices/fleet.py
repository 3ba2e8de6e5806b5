"""Many devices side by side: one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event
from typing import Generic, TypeVar

from devices.config import Device, find_device
from devices.errors import LinkError, UnknownDeviceError
from devices.session import Session
from runtimes.errors import EdgewrightError

ALL = "all"

Outcome = TypeVar("Outcome")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended(Generic[Outcome]):
    """What came of one device: an outcome, or the error that ended it."""

    device: Device
    outcome: Outcome | None = None
    error: EdgewrightError | None = None


def choose(names: str, devices: Mapping[str, Device]) -> tuple[Device, ...]:
    """The devices of `a,b,c`, or of `all`.

    Raises:
        UnknownDeviceError: there is no such device, or none is configured.
    """
    if names == ALL:
        if not devices:
            raise UnknownDeviceError(
                "no devices are configured",
                expected="a devices.toml here or in ~/.config/edgewright",
                remedy="name an address, such as --device ssh://pi@raspberrypi.local",
            )
        return tuple(devices.values())
    chosen = dict.fromkeys(name.strip() for name in names.split(","))
    return tuple(find_device(name, devices) for name in chosen)


def on_each(
    devices: Sequence[Device],
    work: Callable[[Session, Say], Outcome],
    say: Callable[[Device, str], None] = lambda _device, _text: None,
) -> list[Ended[Outcome]]:
    """Do `work` on all devices at once; what they say comes with their name.

    Returns:
        What came of each, in the order of `devices`.
    """
    opened: list[Session] = []
    stopping = Event()

    def one(device: Device) -> Ended[Outcome]:
        say(device, "connecting")
        try:
            with device.open() as session:
                opened.append(session)
                if stopping.is_set():  # while it connected
                    raise LinkError("stopped before it began")
                outcome = work(session, lambda text: say(device, text))
        except EdgewrightError as error:
            say(device, "stopped" if stopping.is_set() else f"failed: {error.problem}")
            return Ended(device, error=error)
        say(device, "stopped" if stopping.is_set() else "done")
        return Ended(device, outcome)

    pool = ThreadPoolExecutor(max_workers=len(devices), thread_name_prefix="device")
    try:
        waiting = {pool.submit(one, device): device.name for device in devices}
        ended = {waiting[done]: done.result() for done in as_completed(waiting)}
    except BaseException:  # Ctrl-C: what runs on the devices is stopped, not waited for
        stopping.set()
        for session in opened:
            session.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [ended[device.name] for device in devices]


def exit_code(ended: Sequence[Ended[Outcome]]) -> int:
    """0 where all devices came through, else the highest code of their errors."""
    return max((one.error.exit_code for one in ended if one.error is not None), default=0)
