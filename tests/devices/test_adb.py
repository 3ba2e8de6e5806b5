"""The adb transport: real adb clients, the tests' own adbd, and a root with a shell and no libc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from devices.adb import adb_failure, open_adb
from devices.errors import (
    DeviceError,
    DeviceTimeoutError,
    LinkLostError,
    MissingToolError,
    NoSpaceError,
    UnauthorizedError,
    UnreachableError,
)
from devices.transport import Result

MEGABYTE = bytes(range(256)) * 4096


# To the last block, that of the command's own note too.
FILL = "rm -f .pid.*; yes >fill"


@pytest.fixture
def transport(adb_server, phone):
    with open_adb(phone.serial, program=adb_server) as opened:
        yield opened


def test_run_gives_what_the_command_said(transport):
    odd = ["a b", "$HOME", "*", "'\"", ";ls", ""]
    script = 'pwd; cat; echo "$@"; echo oops >&2; exit 7'
    found = transport.run(["sh", "-c", script, "sh", *odd], timeout_s=30, stdin="héllo $HOME 'x'")
    said = f"{transport.workdir}\nhéllo $HOME 'x'a b $HOME * '\" ;ls \n"
    assert found == Result(7, said, "oops\n")
    assert transport.workdir.startswith("/data/local/tmp/edgewright-")


def test_push_and_pull_carry_bytes(transport, tmp_path):
    (tmp_path / "here").write_bytes(MEGABYTE + b"\r\n")
    (tmp_path / "here").chmod(0o755)
    there = transport.push(tmp_path / "here", "there")
    transport.pull("there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == MEGABYTE + b"\r\n"
    assert transport.run(["stat", "-c", "%a", there], timeout_s=30).stdout.strip() == "700"


@pytest.mark.parametrize(("script", "status"), [("exit 255", 255), ("kill -SEGV $$", 139)])
def test_statuses_come_in_band(transport, script, status):
    assert transport.run(["sh", "-c", script], timeout_s=30).returncode == status


def test_a_missing_program_is_named(transport):
    with pytest.raises(DeviceError, match=r"'python3' cannot be started"):
        transport.run(["python3"], timeout_s=30)


def test_a_late_command_goes_with_its_children(transport, phone):
    with pytest.raises(DeviceTimeoutError, match=r"within 1 s"):
        transport.run(["sh", "-c", "sleep 60 & sleep 61"], timeout_s=1)
    transport.close()
    phone.wait_until_clean()


def test_a_daemon_without_shell_v2_still_tells_the_status(adb_server, make_phone):
    """It carries no exit code and mixes stderr into stdout: the mark in the output tells."""
    old = make_phone("--legacy")
    with open_adb(old.serial, program=adb_server) as transport:
        found = transport.run(["sh", "-c", "echo out; echo err >&2; exit 9"], timeout_s=30)
    assert found == Result(9, "out\n", "err\n")
    old.wait_until_clean()


def test_a_locked_phone_is_unauthorized(adb_server, make_phone):
    with pytest.raises(UnauthorizedError, match="not allowed debugging") as caught:
        open_adb(make_phone("--locked").serial, program=adb_server)
    assert "confirm" in caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("serial", ["127.0.0.1:1", "R58M123ABCD"])
def test_a_phone_that_is_not_there(adb_server, serial):
    with pytest.raises(UnreachableError, match=f"no phone {serial}") as caught:
        open_adb(serial, program=adb_server)
    assert "adb devices" in caught.value.remedy


def test_a_machine_without_adb_is_told_what_to_install():
    with pytest.raises(MissingToolError, match="cannot be started") as caught:
        open_adb("X", program="/no/such/adb")
    assert "install" in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "stood", "kind"),
    [
        ("error: device unauthorized.\nThis adb server's ...", False, UnauthorizedError),
        ("error: device offline", False, UnreachableError),
        ("error: insufficient permissions for device", False, UnreachableError),
        ("error: device 'X' not found", False, UnreachableError),
        ("error: closed", True, LinkLostError),
        ("", True, LinkLostError),
    ],
)
def test_sayings(said, stood, kind):
    found = adb_failure("X", said, stood=stood)
    assert type(found) is kind
    assert found.found
    assert found.remedy


def test_a_link_cut_in_the_middle_of_a_push(adb_server, phone, cut_wire, tmp_path):
    wire = cut_wire(phone.port)
    (tmp_path / "large").write_bytes(os.urandom(8 << 20))
    with open_adb(f"127.0.0.1:{wire.port}", program=adb_server) as transport:
        wire.cut_after = wire.carried + (2 << 20)
        with pytest.raises(LinkLostError, match="broke"):
            transport.push(tmp_path / "large", "large")
    assert wire.carried_enough.is_set()
    phone.wait_until_clean()


def test_a_link_cut_in_the_middle_of_a_run(adb_server, phone, cut_wire):
    wire = cut_wire(phone.port)
    with open_adb(f"127.0.0.1:{wire.port}", program=adb_server) as transport:
        threading.Timer(0.5, wire.drop).start()
        with pytest.raises(LinkLostError, match="nothing is left there"):
            transport.run(["sh", "-c", "sleep 60; echo late"], timeout_s=30)
    phone.wait_until_clean()


def test_a_full_disk_is_its_own_error(adb_server, phone, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(4 << 20))
    (tmp_path / "fits").write_bytes(MEGABYTE[: 1 << 19])
    with open_adb(phone.serial, parent="/small", program=adb_server) as transport:
        with pytest.raises(NoSpaceError, match="did not fit"):
            transport.push(tmp_path / "large", "large")
        transport.push(tmp_path / "fits", "fits")
    with open_adb(phone.serial, program=adb_server) as transport:
        assert transport.run(["ls", "-A", "/small"], timeout_s=30).stdout == ""


def test_a_disk_with_no_room_for_a_command_is_told(adb_server, phone):
    with open_adb(phone.serial, parent="/small", program=adb_server) as transport:
        transport.run(["sh", "-c", FILL], timeout_s=30)
        found = transport.run(["echo", "here"], timeout_s=30)
    assert found.returncode != 0
    assert "No space left on device" in found.stderr


HOLD = """
import sys
from devices.adb import open_adb
with open_adb(sys.argv[1], program=sys.argv[2]) as transport:
    print("open", flush=True)
    transport.run(["sleep", "60"], timeout_s=60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_nothing_is_left_when_this_program_is_ended(adb_server, phone, number):
    argv = [sys.executable, "-c", HOLD, phone.serial, adb_server]
    idle = len(phone.left()[1])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"open\n"
        end = time.monotonic() + 10
        while len(phone.left()[1]) < idle + 3 and time.monotonic() < end:
            time.sleep(0.05)  # until it runs: the keeper, a shell, sleep
        process.send_signal(number)
        assert process.wait(20) != 0
    phone.wait_until_clean()
