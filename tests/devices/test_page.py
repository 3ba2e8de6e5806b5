"""docs/devices.md shows what works: its devices.toml is read, its commands have these options."""

from __future__ import annotations

import shlex
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


def test_it_says_what_was_never_run():
    assert "Nothing here was run on a physical phone or Raspberry Pi." in TEXT
