from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from devices import fleet
from devices.config import Device
from devices.errors import UnknownDeviceError, UnreachableError
from devices.fleet import choose, exit_code, on_each
from runtimes.errors import MissingRuntimeError

HERE = Device(name="here", address="local")
THERE = Device(name="there", address="local")
GONE = Device(name="gone", address="ssh://127.0.0.1:1")
DEVICES = {device.name: device for device in (HERE, THERE, GONE)}


def test_all_and_lists_and_addresses():
    assert choose("all", DEVICES) == (HERE, THERE, GONE)
    assert choose("there, here", DEVICES) == (THERE, HERE)
    assert choose("here,here", DEVICES) == (HERE,)
    assert choose("local", {})[0].address == "local"


@pytest.mark.parametrize(("names", "devices"), [("all", {}), ("here,nowhere", DEVICES)])
def test_what_is_not_there(names, devices):
    with pytest.raises(UnknownDeviceError):
        choose(names, devices)


def test_one_that_fails_does_not_stop_the_others():
    said = []
    ended = on_each(
        [GONE, HERE, THERE],
        lambda session, say: say("working") or session.name,
        lambda device, text: said.append((device.name, text)),
    )
    assert [one.outcome for one in ended] == [None, "here", "there"]
    assert isinstance(ended[0].error, UnreachableError)
    assert exit_code(ended) == 3
    assert [text for name, text in said if name == "here"] == ["connecting", "working", "done"]
    assert [text for name, text in said if name == "gone"][-1].startswith("failed: ")


def test_they_work_at_the_same_time():
    both = threading.Barrier(2, timeout=30)
    ended = on_each([HERE, THERE], lambda _session, _say: both.wait())
    assert exit_code(ended) == 0


def test_an_error_of_the_file_has_its_own_code():
    def work(_session, _say):
        raise MissingRuntimeError("none")

    assert exit_code(on_each([HERE], work)) == 2


def test_a_mistake_of_ours_is_not_hidden():
    def work(_session, _say):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        on_each([HERE, THERE], work)


def test_ctrl_c_stops_one_that_still_connects(monkeypatch):
    """It comes while `here` works, before `there` is open: the work there must not begin."""
    working, stopped = threading.Event(), threading.Event()
    began, said = [], []
    connect = Device.connect

    def slowly(device):
        if device.name == "there":
            assert stopped.wait(30)
        return connect(device)

    def work(session, _say):
        began.append(session.name)
        working.set()
        session.transport.run(["sleep", "60"], timeout_s=60)

    def say(device, text):
        said.append((device.name, text))
        if text == "stopped":
            stopped.set()

    def interrupted(_waiting):
        assert working.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(Device, "connect", slowly)
    monkeypatch.setattr(fleet, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        on_each([HERE, THERE], work, say)
    assert began == ["here"]
    assert [text for _, text in said][-2:] == ["stopped", "stopped"]


WAIT = """
import sys
from devices.config import Device
from devices.fleet import on_each
user, port, parent, *options = sys.argv[1:]
address = f"ssh://{user}@127.0.0.1:{port}"
devices = [Device(name=n, address=address, workdir=parent, options=tuple(options)) for n in "ab"]
def work(session, say):
    print("open", flush=True)
    return session.transport.run(["sleep", "60"], timeout_s=60)
on_each(devices, work)
"""


def test_ctrl_c_stops_what_runs_on_all_devices(clean):
    argv = [sys.executable, "-c", WAIT, clean.user, str(clean.port), str(clean.tmp)]
    start = time.monotonic()
    with subprocess.Popen(
        [*argv, *clean.options()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == process.stdout.readline() == b"open\n"
        while len(clean.left()[1]) < 6 and time.monotonic() < start + 20:
            time.sleep(0.05)  # a keeper, a shell and sleep for each
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    clean.wait_until_clean()
