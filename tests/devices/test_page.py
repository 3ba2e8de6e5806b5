"""docs/devices.md shows what works: its commands run, on stand-ins for its devices.

Both of its devices are the tests' sshd here; adb and the native runner have tests of their own.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from devices.config import load_devices
from exporter.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "devices.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    edgewright ")]


def test_its_file_is_read(tmp_path):
    block = TEXT.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "devices.toml").write_text(block)
    assert set(load_devices(tmp_path / "devices.toml")) == {"pi4", "phone"}


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_commands(line):
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    context = None
    while words and hasattr(command, "commands"):
        context = typer.Context(command, parent=context)
        command = command.commands[words.pop(0)]
    command.make_context(line, words)  # raises for an option that is not there


EXPORT = (
    "export examples.digits.digits:resnet8 --input 1x1x28x28 --samples 16 --name digits "
    "--calibration examples.digits.digits:test --out build/digits"
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_commands_run(clean, run_page, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    argv = [sys.executable, "-m", "exporter.cli", *EXPORT.split()]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    for name in ("new.tflite", "old.tflite"):
        shutil.copy(tmp_path / "build" / "digits" / "digits.int8.tflite", tmp_path / name)
    address = f"ssh://{clean.user}@127.0.0.1:{clean.port}"
    reached = f'address = "{address}"\noptions = {json.dumps(clean.options())}\n#'
    ran = run_page(
        "devices.md",
        {
            'address = "ssh://pi@raspberrypi.local"': reached,
            'address = "adb:R58M123ABCD"': f'{reached}\npython = "{sys.executable}"',
            "~/venv/bin/python": sys.executable,
            'pin = "2,3"': 'pin = "0"',
            'runner = "native"': "#",
            "edgewright bench ": "edgewright bench --seconds 0.05 ",
        },
    )
    assert [words[1] for words in ran] == ["devices", "doctor", "smoke", *("bench",) * 3]
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [row["device"] for row in rows] == ["pi4", "phone"]


def test_it_says_what_was_never_run():
    assert "Nothing here was run on a physical phone or Raspberry Pi." in TEXT
