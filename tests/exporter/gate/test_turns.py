"""Measuring in turns, with a device that is none: it gives times, and keeps what it was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from exporter import comparison
from exporter.errors import BuildError
from exporter.gate.evidence import Evidence
from exporter.gate.turns import pairs, take_turns
from exporter.gate.turns_table import answers, render, render_self_test, to_json

TFLITE = "digits.int8.tflite"


@dataclass
class Device:
    """Every other measurement of a path takes a thousandth of a ms more."""

    name: str = "desk"
    asked: list = field(default_factory=list)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def bench(self, path, **options):
        self.asked.append((path, options))
        row = SimpleNamespace(
            p50_ms=1.0 + 0.001 * (len(self.asked) % 3),
            valid=len(self.asked) != 3,
            runtime="litert",
            notes=("busy",) if len(self.asked) == 3 else (),
        )
        return SimpleNamespace(row=row)


@pytest.fixture
def old(tmp_path, builds):
    return builds.write_build(tmp_path / "old")


@pytest.fixture
def pair(build, old):
    return next(
        pair for pair in pairs(Evidence(build), Evidence(old)) if pair.new_artifact.path == TFLITE
    )


def test_sides_take_turns_and_swap(pair):
    device = Device()
    row = take_turns(device, pair, rounds=3, seconds=0.5, threads=2)
    paths = [path for path, _ in device.asked]
    assert paths == [pair.new, pair.old, pair.old, pair.new, pair.new, pair.old]
    assert all(options["threads"] == 2 for _, options in device.asked)
    assert (len(row.new_ms), len(row.baseline_ms)) == (3, 3)
    assert row.new_ms == (1.001, 1.001, 1.002)
    assert row.baseline_ms == (1.002, 1.0, 1.0)
    assert (row.device, row.invalid, row.notes) == ("desk", 1, ("busy",))


def test_a_file_may_be_compared_with_itself(build):
    pair = pairs(Evidence(build), Evidence(build))[0]
    row = take_turns(Device(), pair, rounds=4, seconds=0.1)
    assert (len(row.new_ms), len(row.baseline_ms)) == (4, 4)


def test_files_are_paired_by_kind(build, old, builds):
    builds.rename_everywhere(old, TFLITE, "numbers.int8.tflite")
    found = pairs(Evidence(build), Evidence(old))
    assert [(pair.new.name, pair.old.name) for pair in found] == [
        (TFLITE, "numbers.int8.tflite"),
        ("digits.int8.onnx", "digits.int8.onnx"),
        ("digits.int8.ort", "digits.int8.ort"),
    ]


def test_builds_without_a_common_kind_are_refused(build, old, builds):
    builds.edit_json(old / "manifest.json", lambda document: document.update(artifacts=[]))
    with pytest.raises(BuildError, match="have no files to compare"):
        pairs(Evidence(build), Evidence(old))


def test_the_rounds_are_kept_in_the_new_build(build, old, monkeypatch):
    monkeypatch.setattr(comparison, "open_device", Device)
    rows = comparison.compare_builds(build, old, "desk", rounds=12, seconds=0.1)
    document = json.loads((build / "comparison.json").read_text())
    assert len(document["rows"]) == len(rows) == 3
    assert not (old / "comparison.json").exists()
    assert answers(rows, 0.02) == ("better or equal",) * 3


def test_too_few_rounds_are_said_to_be_too_few(pair):
    row = take_turns(Device(), pair, rounds=2, seconds=0.1)
    assert answers([row], 0.02) == ("too few rounds",)
    assert json.loads(to_json([row], 0.02))["rows"][0]["verdict"] is None


def test_the_table_says_the_answer_and_the_rate_of_error(pair, capsys):
    from rich.console import Console

    row = take_turns(Device(), pair, rounds=12, seconds=0.1)
    slower = row.model_copy(update={"new_ms": tuple(time * 1.2 for time in row.new_ms)})
    Console(width=160).print(render([row, slower], 0.02))
    text = capsys.readouterr().out
    assert "better or equal" in text
    assert "worse" in text
    assert "+20.0" in text
    assert "less than 1.00 % of comparisons" in text


def test_the_self_test_tells_of_each_file_that_has_rounds_enough(pair, capsys):
    from rich.console import Console

    row = take_turns(Device(), pair, rounds=12, seconds=0.1)
    few = take_turns(Device(), pair, rounds=2, seconds=0.1)
    Console(width=160).print(render_self_test([row, few], 0.02))
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert f"{TFLITE} with itself on desk: worse in 0 of 200 simulated comparisons" in text
