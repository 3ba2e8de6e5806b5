"""A 32-bit system with tflite-runtime, under emulation: outputs, never times or memory."""

from __future__ import annotations

import pytest

from devices.local import LocalTransport
from devices.session import Session

pytestmark = pytest.mark.slow


def test_the_agent_runs_on_a_32_bit_system(armhf_python, models):
    with Session(LocalTransport(), armhf_python) as session:
        info = session.info()
        found = session.smoke(models.int8_tflite, models.golden)
        dense = session.smoke(models.dense_tflite, models.golden)
    versions = {one.name: one.version for one in info.interpreters}
    assert info.machine in ("armv7l", "armv8l")
    assert info.numpy.startswith("1.")
    assert versions["tflite_runtime"] == "2.14.0"
    assert versions["litert"] is None
    assert (found.runtime, found.delegate) == ("tflite_runtime", "none")
    assert found.values == dense.values == 840
    assert max(found.max_lsb, dense.max_lsb) <= 1  # its builtin kernels round their own way
