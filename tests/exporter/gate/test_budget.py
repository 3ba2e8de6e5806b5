from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.errors import RecipeError
from exporter.gate import load_budget
from exporter.gate.budget import Limits
from exporter.gate.measures import MEASURES

EVERY_KEY = """
[limits."*.int8.tflite"]
file_bytes = "90 kB"
package_bytes = 25000
accuracy_drop = "1.0 pt"
accuracy = "97 %"
peak_memory = "40 MB"
load = "30 ms"
latency_p50 = { local = "2 ms", "ssh://pi@board" = "900 us" }
latency_p90 = { local = 3 }
latency_p99 = { local = "1 s" }
certificate = "clean"
compression_ratio = 20

[limits."*"]
certificate = "clean"
"""


def test_every_key_is_read_into_base_units(budget_of):
    sections = budget_of(EVERY_KEY).sections
    assert [section.pattern for section in sections] == ["*.int8.tflite", "*"]
    limits = sections[0].limits
    assert (limits.file_bytes, limits.package_bytes) == (90_000, 25_000)
    assert (limits.accuracy_drop, limits.accuracy) == (1.0, 0.97)
    assert (limits.peak_memory, limits.load) == (40_000_000, 30.0)
    assert [(entry.device, entry.limit) for entry in limits.latency_p50] == [
        ("local", 2.0),
        ("ssh://pi@board", 0.9),
    ]
    assert (limits.latency_p90[0].limit, limits.latency_p99[0].limit) == (3.0, 1000.0)
    assert (limits.certificate, limits.compression_ratio) == ("clean", 20.0)


def test_a_budget_is_frozen(budget_of):
    with pytest.raises(ValidationError, match="frozen"):
        budget_of(EVERY_KEY).sections[0].limits.file_bytes = 1


def test_every_key_has_a_measure():
    assert set(MEASURES) | {"max_growth", "max_slowdown"} == set(Limits.model_fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[limits."*.tflite"]\nfile_byte = 1',
            "unknown key 'file_byte' in [limits.\"*.tflite\"]",
        ),
        ('[limits."*.tflite"]\nfile_byte = 1', "did you mean file_bytes?"),
        ('[limits."*.tflite"]\nlatency = { local = 1 }', "did you mean latency_p"),
        ('[limits."*.tflite"]\nzzz = 1', "take it out"),
        ('[limit."*.tflite"]\nfile_bytes = 1', "unknown key 'limit' in the top level"),
        ('[limit."*.tflite"]\nfile_bytes = 1', "did you mean limits?"),
        ("[limits.digits.tflite]\nfile_bytes = 1", "quote the whole name"),
        ("[limits]\nfile_bytes = 1", '[limits."file_bytes"] is not a table'),
        ("[limits]\nfile_bytes = 1", "put the limit under the artifacts it is for"),
        ("[limits]\nfoo = 1", 'write [limits."foo"] on a line of its own'),
        ("limits = 3", "limits nothing"),
        ("", "limits nothing"),
        ('[limits."*.tflite"]', '[limits."*.tflite"] limits nothing'),
        ('[limits."*"]\nfile_bytes = "9 KB"', "file_bytes in [limits.\"*\"]: unit 'KB' is not"),
        ('[limits."*"]\nfile_bytes = []', "expected a number or a text such as"),
        ('[limits."*"]\naccuracy = 97', 'expected at most 1, found 97; write "97 %" or 0.97'),
        ('[limits."*"]\ncertificate = true', 'expected "clean", the only verdict to ask for'),
        ('[limits."*"]\nlatency_p90 = "2 ms"', 'one limit a device such as { local = "2 ms" }'),
        ('[limits."*"]\nlatency_p90 = {}', "expected at least one device"),
        (
            '[limits."*"]\nlatency_p90 = { local = "2 kB" }',
            "latency_p90 in [limits.\"*\"]: device 'local': unit 'kB' is not one of",
        ),
        ("[limits.*.tflite]", "is not TOML"),
    ],
)
def test_refuses_with_the_key_and_its_table(budget_of, text, message):
    with pytest.raises(RecipeError, match=re.escape(message)) as caught:
        budget_of(text)
    assert caught.value.exit_code == 2


def test_refuses_a_missing_file(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"none\.toml is missing"):
        load_budget(tmp_path / "none.toml")


def test_refuses_what_is_no_text(tmp_path: Path):
    path = tmp_path / "budget.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_budget(path)


def test_refuses_a_directory(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read"):
        load_budget(tmp_path)
