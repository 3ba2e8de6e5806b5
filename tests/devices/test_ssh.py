"""The ssh transport against a real sshd of an ordinary user on loopback, and all that can fail."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from devices.errors import (
    AuthenticationError,
    DeviceError,
    DeviceTimeoutError,
    HostKeyError,
    LinkLostError,
    MissingToolError,
    NoSpaceError,
    UnknownDeviceError,
    UnreachableError,
)
from devices.ssh import SshTarget, open_ssh, parse_url, ssh_failure
from devices.transport import Result

MEGABYTE = bytes(range(256)) * 4096


def target_of(daemon, port=None, **fields):
    options = daemon.options(port)
    return SshTarget("127.0.0.1", daemon.user, port or daemon.port, options=options, **fields)


@pytest.fixture
def transport(clean):
    with open_ssh(target_of(clean), parent=str(clean.tmp)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ssh://board", SshTarget("board")),
        ("ssh://pi@192.168.1.9:2222", SshTarget("192.168.1.9", "pi", 2222)),
        ("ssh://pi@raspberrypi.local/", SshTarget("raspberrypi.local", "pi")),
        ("ssh://[fe80::1%eth0]:22", SshTarget("fe80::1%eth0", None, 22)),
    ],
)
def test_urls(url, expected):
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ssh://",
        "ssh://a b",
        "ssh://-oProxyCommand=x",
        "ssh://-x@a",
        "ssh://a:70000",
        "ssh://a:b",
        "http://a",
    ],
)
def test_what_is_no_address(url):
    with pytest.raises(UnknownDeviceError, match="no ssh address"):
        parse_url(url)


def test_run_gives_what_the_command_said(transport):
    script = 'pwd; cat; echo "$@"; echo oops >&2; exit 7'
    odd = ["a b", "$HOME", "*", "'\"", ";ls", ""]
    found = transport.run(["sh", "-c", script, "sh", *odd], timeout_s=30, stdin="héllo $HOME 'x'")
    said = f"{transport.workdir}\nhéllo $HOME 'x'a b $HOME * '\" ;ls \n"
    assert found == Result(7, said, "oops\n")


def test_the_directory_is_private(transport):
    assert transport.run(["stat", "-c", "%a", "."], timeout_s=30).stdout == "700\n"


@pytest.mark.parametrize("data", [b"", b"\r\n", MEGABYTE, b"@@0 0\n"], ids=len)
def test_push_and_pull_carry_bytes(transport, tmp_path, data):
    (tmp_path / "here").write_bytes(data)
    assert transport.push(tmp_path / "here", "there") == f"{transport.workdir}/there"
    transport.pull("there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert transport.run(["ls", "-A"], timeout_s=30).stdout.split()[0].startswith((".err", "there"))


@pytest.mark.parametrize(("mode", "expected"), [(0o644, "600"), (0o755, "700")])
def test_programs_stay_programs(transport, tmp_path, mode, expected):
    (tmp_path / "here").touch()
    (tmp_path / "here").chmod(mode)
    there = transport.push(tmp_path / "here", "there")
    assert transport.run(["stat", "-c", "%a", there], timeout_s=30).stdout.strip() == expected


def test_names_stay_inside(transport, tmp_path):
    (tmp_path / "here").touch()
    with pytest.raises(DeviceError, match="no plain file name"):
        transport.push(tmp_path / "here", "../there")
    with pytest.raises(DeviceError, match="no plain file name"):
        transport.pull("../there", tmp_path / "back")


def test_missing_files_are_named(transport, tmp_path):
    with pytest.raises(DeviceError, match="cannot be copied"):
        transport.push(tmp_path / "missing", "x")
    with pytest.raises(DeviceError, match="cannot be copied from the device"):
        transport.pull("missing", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("script", "status"), [("exit 255", 255), ("kill -SEGV $$", 139)])
def test_statuses_come_in_band(transport, script, status):
    assert transport.run(["sh", "-c", script], timeout_s=30).returncode == status


def test_a_missing_program_is_named(transport):
    with pytest.raises(DeviceError, match=r"'/no/such/python' cannot be started"):
        transport.run(["/no/such/python"], timeout_s=30)


def test_a_late_command_goes_with_its_children(transport, clean):
    with pytest.raises(DeviceTimeoutError, match=r"within 1 s"):
        transport.run(["sh", "-c", "sleep 60 & sleep 61"], timeout_s=1)
    transport.close()
    clean.wait_until_clean()


def test_what_a_command_leaves_running_ends_with_it(transport, clean):
    transport.run(["sh", "-c", "sleep 60 >/dev/null 2>&1 &"], timeout_s=30)
    transport.close()
    transport.close()
    clean.wait_until_clean()


@pytest.fixture
def configured(clean, tmp_path, monkeypatch):
    """The user's ssh configuration: a board that only a host in between reaches.

    ssh reads ~/.ssh/config of the password database, so a program of its name gives it another.
    """
    host = f"HostName 127.0.0.1\n  Port {clean.port}\n  User {clean.user}"
    known = "\n  ".join(option.replace("=", " ", 1) for option in clean.options())
    (tmp_path / "config").write_text(
        f"Host between\n  {host}\nHost board\n  {host}\n  ProxyJump between\nHost *\n  {known}\n"
    )
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return clean


def test_an_alias_of_the_users_configuration_jumps_over_another_host(configured):
    log = configured.root / "log"
    before = log.read_text().count("Accepted publickey")
    with open_ssh(SshTarget("board"), parent=str(configured.tmp)) as transport:
        assert transport.run(["echo", "there"], timeout_s=20).stdout == "there\n"
    # One login at the host in between, one at the board behind it.
    assert log.read_text().count("Accepted publickey") - before == 2


# Links that do not come to stand.


def test_an_unknown_host_key_is_refused(clean):
    target = dataclasses.replace(target_of(clean), options=clean.options(known="empty"))
    with pytest.raises(HostKeyError, match="is not known here") as caught:
        open_ssh(target, parent=str(clean.tmp))
    assert "--accept-new" in caught.value.remedy
    assert f"ssh -p {clean.port} {clean.user}@127.0.0.1" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_accept_new_takes_an_unknown_key_and_remembers_it(clean, tmp_path):
    options = ("UserKnownHostsFile=" + str(tmp_path / "known"), *clean.options()[1:])
    target = dataclasses.replace(target_of(clean), options=options)
    with open_ssh(dataclasses.replace(target, accept_new=True), parent=str(clean.tmp)):
        pass
    with open_ssh(target, parent=str(clean.tmp)):
        pass


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_changed_host_key_is_refused_always(clean, tmp_path, accept_new):
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{clean.port} {(clean.root / 'stranger.pub').read_text()}")
    options = (f"UserKnownHostsFile={known}", *clean.options()[1:])
    target = dataclasses.replace(target_of(clean), options=options, accept_new=accept_new)
    with pytest.raises(HostKeyError, match="another host key than before") as caught:
        open_ssh(target, parent=str(clean.tmp))
    assert f"ssh-keygen -R '[127.0.0.1]:{clean.port}'" in caught.value.remedy


def test_a_refused_key_says_how_to_bring_one(clean):
    target = dataclasses.replace(target_of(clean), options=clean.options(key="stranger"))
    with pytest.raises(AuthenticationError, match="refuses the keys") as caught:
        open_ssh(target, parent=str(clean.tmp))
    assert "ssh-copy-id" in caught.value.remedy


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (SshTarget("127.0.0.1", port=1), "cannot be reached"),
        (SshTarget("no-such-host.invalid"), "no host 'no-such-host.invalid'"),
    ],
)
def test_what_does_not_answer_is_unreachable(target, message):
    with pytest.raises(UnreachableError, match=message):
        open_ssh(target)


def test_a_directory_that_is_not_there_is_told(clean):
    with pytest.raises(UnreachableError, match="gives no shell") as caught:
        open_ssh(target_of(clean), parent="/no/such/directory")
    assert "/no/such/directory" in caught.value.found


def test_a_machine_without_ssh_is_told_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match="'ssh' cannot be started") as caught:
        open_ssh(SshTarget("127.0.0.1"))
    assert "openssh-client" in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "stood", "kind"),
    [
        ("ssh: connect to host a port 22: No route to host", False, UnreachableError),
        ("ssh: connect to host a port 22: Connection timed out", False, UnreachableError),
        ("Received disconnect: Too many authentication failures", False, AuthenticationError),
        ("something new", False, UnreachableError),
        ("Timeout, server a not responding.", True, LinkLostError),
    ],
)
def test_sayings(said, stood, kind):
    found = ssh_failure(SshTarget("a"), said, stood=stood)
    assert type(found) is kind
    assert said in found.found
    assert found.remedy


# Links that break.


def test_a_link_cut_in_the_middle_of_a_push(clean, cut_wire, tmp_path):
    wire = cut_wire(clean.port)
    (tmp_path / "large").write_bytes(os.urandom(8 << 20))
    transport = open_ssh(target_of(clean, wire.port), parent=str(clean.tmp))
    wire.cut_after = wire.carried + (2 << 20)
    with transport, pytest.raises(LinkLostError, match="broke"):
        transport.push(tmp_path / "large", "large")
    assert wire.carried_enough.is_set()
    clean.wait_until_clean()


def test_a_link_cut_in_the_middle_of_a_run(clean, cut_wire):
    wire = cut_wire(clean.port)
    with open_ssh(target_of(clean, wire.port), parent=str(clean.tmp)) as transport:
        threading.Timer(0.5, wire.cut).start()
        with pytest.raises(LinkLostError, match="nothing is left there"):
            transport.run(["sh", "-c", "sleep 60; echo late"], timeout_s=30)
    clean.wait_until_clean()


def test_a_link_that_comes_back_is_used_to_clean_up(clean):
    """The keeper is killed as a reboot of sshd would; the next link finds what it left."""
    transport = open_ssh(target_of(clean), parent=str(clean.tmp))
    keeper = transport._keeper
    found = transport.run(["sh", "-c", "pgrep -f 'mktemp -d' -u $(id -u)"], timeout_s=30)
    transport.run(["kill", "-9", *found.stdout.split()], timeout_s=30)
    keeper.wait(10)
    assert clean.left()[0] != []
    transport.close()
    clean.wait_until_clean()


def test_a_full_disk_is_its_own_error(clean, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(4 << 20))
    small = str(clean.small)
    with open_ssh(target_of(clean), parent=small) as transport:
        with pytest.raises(NoSpaceError, match="did not fit") as caught:
            transport.push(tmp_path / "large", "large")
        assert "free space" in caught.value.remedy
        assert "bytes arrived" in caught.value.found
        (tmp_path / "fits").write_bytes(MEGABYTE[: 1 << 19])
        transport.push(tmp_path / "fits", "fits")
    with open_ssh(target_of(clean), parent=str(clean.tmp)) as transport:
        assert transport.run(["ls", "-A", small], timeout_s=30).stdout == ""


HOLD = """
import sys
from devices.ssh import SshTarget, open_ssh
user, port, parent, *options = sys.argv[1:]
target = SshTarget("127.0.0.1", user, int(port), options=tuple(options))
with open_ssh(target, parent=parent) as t:
    print("open", flush=True)
    t.run(["sleep", "60"], timeout_s=60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_nothing_is_left_when_this_program_is_ended(clean, number):
    argv = [sys.executable, "-c", HOLD, clean.user, str(clean.port), str(clean.tmp)]
    process = subprocess.Popen(
        [*argv, *clean.options()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"open\n"
        end = time.monotonic() + 10
        while len(clean.left()[1]) < 3 and time.monotonic() < end:
            time.sleep(0.05)  # until it runs: the keeper, a shell, sleep
        process.send_signal(number)
        assert process.wait(20) != 0
    clean.wait_until_clean()
