"""docs/journeys.md: a camera model to a Raspberry Pi, by the command line, on an emulated one."""

from __future__ import annotations

import json

import pytest

from exporter.build import Bench, Smoke, load_json

PYTHON = "/opt/runtimes/python"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_camera_model_is_built_smoked_measured_and_judged(pi, run_page, tmp_path):
    """journeys.md as it is written; only its board is the emulated one."""
    ran = run_page(
        "journeys.md",
        {
            "ssh://pi@raspberrypi.local": f'{pi.address}"\noptions = {json.dumps(pi.options)} #',
            "~/venv/bin/python": PYTHON,
        },
    )
    steps = [argv[1] for argv in ran if argv[0] == "edgewright"]
    assert steps == ["export", "smoke", "bench", "check"]

    smoke = load_json(tmp_path / "build" / "camera" / "smoke.json", Smoke)
    assert smoke.passed
    assert {row.device for row in smoke.rows} == {"pi"}
    assert {row.runtime for row in smoke.rows} == {"litert", "onnxruntime"}
    (row,) = load_json(tmp_path / "pi.json", Bench).rows
    assert (row.device, row.valid) == ("pi", False)  # an emulator's time is no board's
