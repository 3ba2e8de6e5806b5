"""The same hash from both runtimes on CPUs that this machine is not, emulated by qemu."""

from __future__ import annotations

import platform
import shutil
import stat
import sys

import networks
import numpy as np
import pytest

from devices.local import LocalTransport
from devices.session import Feeding, Session

QEMU = shutil.which("qemu-x86_64-static")
FRAMES = networks.frames(8, seed=11)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates x86-64 with its own Python")
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64-static is missing (apt: qemu-user-static)")
@pytest.mark.parametrize("cpu", ["Haswell", "Nehalem"], ids=["AVX2 only", "SSE only"])
def test_both_files_give_this_machines_outputs_on(made, tmp_path, cpu):
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nexec "{QEMU}" -cpu {cpu} "{sys.executable}" "$@"\n')
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, **{"input.0": FRAMES.numpy()})
    hashes = []
    for python in (sys.executable, str(launcher)):
        with Session(LocalTransport(), python) as session:
            for path in (made.tflite, made.onnx):
                feeding = Feeding(input_layouts=("NHWC",), output_layouts=("",))
                hashes.append(session.run(path, inputs, feeding=feeding).sha256)
    assert len(set(hashes)) == 1, hashes
