from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devices.errors import DeviceError, DeviceTimeoutError, NoSpaceError
from devices.local import LocalTransport
from devices.transport import Result


@pytest.fixture
def transport():
    with LocalTransport() as opened:
        yield opened


def test_the_directory_is_private_and_goes_with_close(transport):
    directory = Path(transport.workdir)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (directory / "left").mkdir()
    transport.close()
    transport.close()
    assert not directory.exists()


def test_the_directory_goes_when_python_exits_without_close():
    code = "from devices.local import LocalTransport; t = LocalTransport(); print(t.workdir)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert not Path(done.stdout.strip()).exists()


def test_the_directory_goes_after_an_error():
    opened = LocalTransport()
    with pytest.raises(DeviceError), opened:
        opened.push(Path("/no/such/file"), "x")
    assert not Path(opened.workdir).exists()


def test_push_and_pull_carry_bytes(transport, tmp_path):
    data = bytes(range(256)) * 100
    (tmp_path / "here").write_bytes(data)
    there = transport.push(tmp_path / "here", "there")
    assert Path(there) == Path(transport.workdir, "there")
    transport.pull("there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "here"]


def test_what_is_pushed_is_a_copy(transport, tmp_path):
    (tmp_path / "here").write_text("first")
    there = transport.push(tmp_path / "here", "there")
    (tmp_path / "here").write_text("second")
    assert Path(there).read_text() == "first"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "../out"])
def test_names_stay_inside(transport, tmp_path, name):
    (tmp_path / "here").touch()
    with pytest.raises(DeviceError, match="no plain file name"):
        transport.push(tmp_path / "here", name)
    with pytest.raises(DeviceError, match="no plain file name"):
        transport.pull(name, tmp_path / "back")


def test_missing_files_are_device_errors(transport, tmp_path):
    with pytest.raises(DeviceError, match="cannot be copied to the device"):
        transport.push(tmp_path / "missing", "x")
    with pytest.raises(DeviceError, match="cannot be copied from the device"):
        transport.pull("missing", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_its_own_error(transport, tmp_path, monkeypatch):
    def full(_source, target):
        Path(target).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "here").touch()
    monkeypatch.setattr(shutil, "copy", full)
    with pytest.raises(NoSpaceError, match="cannot be copied"):
        transport.push(tmp_path / "here", "there")
    assert list(Path(transport.workdir).iterdir()) == []


def test_run_gives_what_the_command_said(transport):
    code = "import sys, os; print(os.getcwd(), sys.stdin.read()); print('oops', file=sys.stderr)"
    found = transport.run([sys.executable, "-c", code], timeout_s=30, stdin="héllo $HOME `x`")
    where = os.path.realpath(transport.workdir)
    assert found == Result(0, f"{where} héllo $HOME `x`\n", "oops\n")


def test_arguments_pass_as_they_are(transport):
    odd = ["a b", "$HOME", "*", "'\"", ";ls", ""]
    code = "import sys; print(sys.argv[1:])"
    found = transport.run([sys.executable, "-c", code, *odd], timeout_s=30)
    assert found.stdout.strip() == str(odd)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", -9)])
def test_exit_codes_and_signals_are_no_errors(transport, script, code):
    assert transport.run(["/bin/sh", "-c", script], timeout_s=30).returncode == code


def test_odd_bytes_do_not_break_the_text(transport):
    found = transport.run(["/bin/sh", "-c", r"printf '\377ok'"], timeout_s=30)
    assert found.stdout == "\ufffdok"


def test_a_late_command_is_stopped_with_its_children(transport):
    pids = Path(transport.workdir, "pid")
    start = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match=r"within 0\.5 s"):
        transport.run(
            ["/bin/sh", "-c", "sleep 60 & echo $! > pid; wait"], timeout_s=0.5, stdin="x" * 200_000
        )
    assert time.monotonic() - start < 10
    child = int(pids.read_text())
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.02)
    assert not _alive(child)


def _alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False


def test_a_missing_program_is_named(transport):
    with pytest.raises(DeviceError, match=r"'/no/such/python' cannot be started"):
        transport.run(["/no/such/python"], timeout_s=5)
