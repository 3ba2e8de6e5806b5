from __future__ import annotations

import sys

import pytest

from devices.config import Device, find_device, load_devices
from devices.errors import DevicesFileError, LinkError, UnknownDeviceError
from devices.profile import NAMES, load_profile, profile_of
from devices.state import DeviceState

TEXT = """
[pi4]
address = "ssh://pi@raspberrypi.local"
python = "~/venv/bin/python"
profile = "raspberry-pi-4b"

[phone]
address = "adb:R58M123ABCD"
runner = "native"
pin = "big"
"""


def write(tmp_path, text):
    (tmp_path / "devices.toml").write_text(text)
    return tmp_path / "devices.toml"


def test_devices_have_names(tmp_path):
    found = load_devices(write(tmp_path, TEXT))
    assert list(found) == ["pi4", "phone"]
    assert found["pi4"].python == "~/venv/bin/python"
    assert (found["phone"].runner, found["phone"].pin) == ("native", "big")


@pytest.mark.parametrize("place", ["here", "home"])
def test_the_file_is_looked_for_here_then_at_home(tmp_path, monkeypatch, place):
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "edgewright").mkdir(parents=True)
    here.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.chdir(here)
    assert load_devices() == {}
    write(home / "edgewright", "[home]\naddress = 'local'\n")
    if place == "here":
        write(here, "[here]\naddress = 'local'\n")
    assert list(load_devices()) == [place]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "cannot be read"),
        ("a = 1", "no table for a device 'a'"),
        ("[all]\naddress = 'local'", '"all" is every device'),
        ("[a]\nname = 'b'\naddress = 'local'", "no table for a device 'a'"),
        ("[a]\npython = 'python3'", "address: Field required"),
        ("[a]\naddress = 'local'\npyhton = 'x'", "did you mean 'python'"),
        ("[a]\naddress = 'local'\nprofile = 'pi'", "raspberry-pi-4b"),
        ("[a]\naddress = 5", "address: Input should be a valid string"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(DevicesFileError) as caught:
        load_devices(write(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_file_that_was_named_is_an_error(tmp_path):
    with pytest.raises(DevicesFileError, match="cannot be read"):
        load_devices(tmp_path / "none.toml")


@pytest.mark.parametrize("name", ["local", "ssh://pi@host:2222", "adb:127.0.0.1:5555"])
def test_addresses_need_no_file(name):
    assert find_device(name, {}) == Device(name=name, address=name)


def test_a_near_name_is_offered(tmp_path):
    devices = load_devices(write(tmp_path, TEXT))
    with pytest.raises(UnknownDeviceError) as caught:
        find_device("pi5", devices)
    assert "did you mean 'pi4'" in caught.value.found
    assert caught.value.remedy.endswith("pi4, phone, local")


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("http://a", UnknownDeviceError),
        ("ssh://a b", UnknownDeviceError),
        ("ssh://127.0.0.1:1", LinkError),
    ],
)
def test_addresses_that_do_not_work(address, error):
    with pytest.raises(error):
        Device(name="x", address=address).open()


def test_local_runs_this_python():
    with Device(name="here", address="local").open() as session:
        assert session.name == "here"
        assert session.info().python == sys.version.split()[0]


def test_the_home_directory_is_the_devices(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "python").symlink_to(sys.executable)
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    with Device(name="here", address="local", python="~/launcher").open() as session:
        assert session.info().python == sys.version.split()[0]


@pytest.mark.parametrize(
    ("address", "python", "program"),
    [
        ("local", "python3", sys.executable),
        ("local", "/opt/python", "/opt/python"),
        ("ssh://pi@board", "python3", "python3"),
    ],
)
def test_this_machine_runs_this_python_unless_another_is_named(address, python, program):
    assert Device(name="x", address=address, python=python).program == program


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_a_profile_has_a_source(name):
    profile = load_profile(name)
    figures = set(type(profile).model_fields) - {"name", "matches", "os", "sources"}
    known = {figure for figure in figures if getattr(profile, figure) is not None}
    assert known <= set(profile.sources)
    assert all(profile.sources.values())


def test_the_boards_of_the_fleet_have_profiles():
    boards = {load_profile(name).name for name in NAMES}
    pis = {"3 Model B+", "4 Model B", "5", "Zero 2 W"}
    assert boards == {f"Raspberry Pi {pi}" for pi in pis} | {"Android phone, arm64"}


PI_4 = DeviceState(
    model="Raspberry Pi 4 Model B Rev 1.4", machine="aarch64", cores=4, frequency_max_mhz=1500.0
)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "Raspberry Pi 3 Model B+"),
        ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "Raspberry Pi Zero 2 W"),
        ("AMD EPYC", None),
        (None, None),
    ],
)
def test_a_board_is_known_by_its_own_name(model, name):
    found = profile_of(DeviceState(model=model))
    assert (found.name if found is not None else None) == name


@pytest.mark.parametrize(
    ("os", "machine", "known"),
    [("Android 14", "aarch64", True), ("Android 9", "armv8l", False), ("Debian", "aarch64", False)],
)
def test_a_phone_is_known_by_its_system(os, machine, known):
    found = profile_of(DeviceState(model="Acme 5", os=os, machine=machine))
    assert (found is not None and found.name == "Android phone, arm64") == known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"model": "Raspberry Pi 5 Model B"}, "not a Raspberry Pi 4 Model B"),
        ({"frequency_max_mhz": 600.0}, "limited to 600 of 1500 MHz"),
        ({"cores": 2}, "2 of 4 cores"),
        ({"machine": "armv7l"}, "armv7l, not aarch64"),
    ],
)
def test_what_does_not_fit_the_profile_is_told(changes, message):
    state = DeviceState(**{**vars(PI_4), **changes})
    found = load_profile("raspberry-pi-4b").contradictions(state)
    assert (message is None and found == ()) or message in found[0]
