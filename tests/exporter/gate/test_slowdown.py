from __future__ import annotations

import numpy as np
import pytest

from exporter.build import MANIFEST, Manifest, load_json
from exporter.errors import BuildError
from exporter.gate import check, load_baseline
from exporter.gate.turns import TurnRow, load_turns, write_turns

TFLITE = "digits.int8.tflite"


@pytest.fixture
def old(tmp_path, builds):
    return builds.write_build(tmp_path / "old")


@pytest.fixture
def turns_of(build, old):
    """A row of turns of both builds' .tflite: the new one slower by a share, with noise."""

    def row(slower: float = 0.0, rounds: int = 30, **changes) -> TurnRow:
        generator = np.random.default_rng(7)
        baseline = 0.3 * np.exp(generator.normal(0, 0.03, rounds))
        new = 0.3 * np.exp(generator.normal(0, 0.03, rounds)) * (1 + slower)
        fields = {
            "artifact": TFLITE,
            "sha256": sha256(build),
            "baseline_artifact": TFLITE,
            "baseline_sha256": sha256(old),
            "device": "local",
            "runtime": "litert",
            "threads": 1,
            "seconds": 0.5,
            "new_ms": tuple(new),
            "baseline_ms": tuple(baseline),
        }
        return TurnRow(**fields | changes)

    return row


@pytest.fixture
def line_of(build, old, budget_of):
    def line(device: str = "local", allowed: str = "5 %"):
        budget = budget_of(f'[limits."{TFLITE}"]\nmax_slowdown = {{ {device} = "{allowed}" }}')
        verdict = check(build, budget, baseline=load_baseline(old))
        (found,) = [line for line in verdict.lines if line.limit == "max_slowdown"]
        return found

    return line


def sha256(directory):
    manifest = load_json(directory / MANIFEST, Manifest)
    return manifest.artifact("tflite", "int8").sha256


def test_a_file_that_is_no_slower_passes(build, turns_of, line_of):
    write_turns(build, [turns_of(0.0)])
    line = line_of()
    assert (line.passed, line.device, line.unit, line.reason) == (True, "local", "", "")
    assert abs(line.measured) < 0.03
    assert "over 30 rounds in litert, noise" in line.source


def test_a_slower_file_fails_with_how_much_and_why(build, turns_of, line_of):
    write_turns(build, [turns_of(0.10)])
    line = line_of()
    assert not line.passed
    assert line.measured == pytest.approx(0.10, abs=0.03)
    assert line.reason.startswith("slower than the baseline by +")
    assert line.details[0].startswith("layer3.conv: 3.61 MMAC")
    assert "edgewright report NEW OLD" in line.remedy


def test_what_is_not_shown_fails_and_says_how_to_decide(build, turns_of, line_of):
    write_turns(build, [turns_of(0.06, rounds=12)])
    line = line_of()
    assert (line.passed, line.over) == (False, None)
    assert line.reason.startswith("inconclusive")
    assert "more rounds would decide" in line.reason
    assert "edgewright compare NEW OLD --device local --rounds" in line.remedy


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "comparison.json is of other files than these two"),
        ({"baseline_sha256": "0" * 64}, "comparison.json is of other files than these two"),
        ({"device": "pi4"}, "not compared on local: only on pi4"),
        ({"new_ms": (1.0,) * 9, "baseline_ms": (1.0,) * 9}, "only 9 rounds: 10 are the least"),
    ],
)
def test_turns_of_something_else_are_none(build, turns_of, line_of, changes, reason):
    write_turns(build, [turns_of(0.0, **changes)])
    line = line_of()
    assert (line.passed, line.measured) == (False, None)
    assert line.reason.startswith(reason)
    assert "edgewright compare NEW OLD --device local" in line.remedy


def test_without_turns_it_fails(line_of):
    assert line_of().reason == "the builds were not measured in turns: no comparison.json"


def test_damaged_turns_are_bad_input(build, line_of):
    (build / "comparison.json").write_text("{}")
    with pytest.raises(BuildError, match=r"comparison\.json is damaged"):
        line_of()


def test_a_new_measurement_takes_the_place_of_the_old(build, turns_of):
    write_turns(build, [turns_of(0.10)])
    write_turns(build, [turns_of(0.0, rounds=12), turns_of(0.0, device="pi4")])
    rows = load_turns(build).rows
    assert [(row.device, len(row.new_ms)) for row in rows] == [("local", 12), ("pi4", 30)]


def test_added_rounds_stand_behind_the_earlier_ones(build, turns_of):
    first = turns_of(0.1, rounds=12, invalid=1, notes=("busy",))
    write_turns(build, [first])
    (row,) = write_turns(build, [turns_of(0.0, invalid=2, notes=("busy", "hot"))], add=True)
    assert len(row.new_ms) == len(row.baseline_ms) == 42
    assert row.new_ms[:12] == first.new_ms
    assert (row.invalid, row.notes) == (3, ("busy", "hot"))
