from __future__ import annotations

import pytest

from devices.errors import PinError
from devices.pinning import cores_of, taskset
from devices.state import DeviceState

# Four small cores, three large ones and one larger still, as phones have.
PHONE = DeviceState(cores=8, cpu_max_mhz=(1800.0,) * 4 + (2400.0,) * 3 + (2800.0,))
PI = DeviceState(cores=4, cpu_max_mhz=(1500.0,) * 4)


@pytest.mark.parametrize(
    ("pin", "state", "cores", "mask"),
    [
        ("big", PHONE, (7,), "80"),
        ("little", PHONE, (0, 1, 2, 3), "f"),
        ("big", PI, (0, 1, 2, 3), "f"),
        ("0,1", PHONE, (0, 1), "3"),
        ("4,2,4", PHONE, (2, 4), "14"),
        ("11", DeviceState(), (11,), "800"),
    ],
)
def test_cores_and_their_mask(pin, state, cores, mask):
    assert cores_of(pin, state) == cores
    assert taskset(cores) == ("taskset", mask)


def test_no_pin_is_no_command():
    assert taskset(()) == ()


@pytest.mark.parametrize(
    ("pin", "state", "message"),
    [
        ("4", PI, "no core 4"),
        ("medium", PI, "names no cores"),
        ("", PI, "names no cores"),
        ("0-1", PI, "names no cores"),
        ("big", DeviceState(cores=4), "which are big is unknown"),
    ],
)
def test_what_cannot_be_pinned_to(pin, state, message):
    with pytest.raises(PinError, match=message) as caught:
        cores_of(pin, state)
    assert caught.value.exit_code == 2
