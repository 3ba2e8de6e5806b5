from __future__ import annotations

import json

import pytest

from exporter.errors import BuildError
from exporter.gate import check, load_baseline
from exporter.gate.baseline import save_baseline
from exporter.gate.evidence import Evidence

TFLITE = "digits.int8.tflite"


@pytest.fixture
def old(tmp_path, builds):
    """The release before: the same build, in another directory."""
    return builds.write_build(tmp_path / "old")


@pytest.fixture
def line_of(build, budget_of):
    def line(limit: str, value: str, baseline=None):
        verdict = check(
            build, budget_of(f'[limits."{TFLITE}"]\n{limit} = {value}'), baseline=baseline
        )
        return [line for line in verdict.lines if line.limit == limit]

    return line


def grow(builds, directory, *, file_bytes=None, package_bytes=None):
    """Make a file or its package larger, on disk and in the manifest."""

    def change(document):
        for artifact in document["artifacts"]:
            if artifact["path"] == TFLITE:
                for entry, size in ((artifact, file_bytes), (artifact["package"], package_bytes)):
                    if size is not None:
                        (directory / entry["path"]).write_bytes(bytes(size))
                        entry["bytes"] = size

    builds.edit_json(directory / "manifest.json", change)


def test_growth_exactly_at_its_limit_passes_and_one_byte_more_does_not(build, old, builds, line_of):
    grow(builds, old, file_bytes=50_000)
    grow(builds, build, file_bytes=51_000)
    baseline = load_baseline(old)
    kept, _ = line_of("max_growth", '"2 %"', baseline)
    assert (kept.subject, kept.passed, kept.over) == ("file_bytes", True, 0)
    grow(builds, build, file_bytes=51_001)
    failed, package = line_of("max_growth", '"2 %"', baseline)
    assert (failed.passed, package.passed) == (False, True)
    assert failed.title == "max_growth of file_bytes"
    assert failed.source == "from 50.0 kB to 51.0 kB"


def test_each_size_may_have_its_own_limit(old, line_of):
    lines = line_of(
        "max_growth", '{ package_bytes = "0 %", peak_memory = 0.5 }', load_baseline(old)
    )
    assert [(line.subject, line.limit_value, line.passed) for line in lines] == [
        ("package_bytes", 0.0, True),
        ("peak_memory", 0.5, True),
    ]


def test_a_failure_names_the_layers_that_grew(build, old, builds, line_of):
    def thicken(document):
        layers = document["files"][0]["layers"]
        layers[1].update(zeros=layers[1]["zeros"] // 2, entropy_bits=2.5)

    builds.edit_json(build / "contents.json", thicken)
    grow(builds, build, package_bytes=20_000)
    _, package = line_of("max_growth", '"2 %"', load_baseline(old))
    (detail,) = package.details
    assert detail == "layer1.conv: +300 B packed, zeros 86.81 % before, 43.40 % now"


def test_a_new_layer_and_one_that_is_gone_are_told(build, old, builds, budget_of):
    def rename(document):
        document["files"][0]["layers"][0]["name"] = "stem"

    builds.edit_json(build / "contents.json", rename)
    budget = budget_of(f'[limits."{TFLITE}"]\nmax_growth = "2 %"')
    changes = check(build, budget, baseline=load_baseline(old)).changes
    assert [change.sentence(packed=False) for change in changes] == [
        "stem: +288 B, a new layer",
        "conv1: \N{MINUS SIGN}288 B, the layer is gone",
    ]


def test_the_baseline_s_json_says_the_same_as_its_directory(old, tmp_path):
    path = tmp_path / "kept" / "baseline.json"
    save_baseline(Evidence(old), path)
    assert load_baseline(path) == load_baseline(old)
    assert path.stat().st_size < 20_000


def test_a_renamed_build_is_compared_by_kind_of_file(build, old, builds, line_of):
    builds.rename_everywhere(old, TFLITE, "numbers.int8.tflite")
    file, _ = line_of("max_growth", '"0 %"', load_baseline(old))
    assert file.passed


@pytest.mark.parametrize("limit", ["max_growth", "max_slowdown"])
def test_without_a_baseline_it_fails(line_of, limit):
    value = '"2 %"' if limit == "max_growth" else '{ local = "2 %" }'
    for line in line_of(limit, value):
        assert (line.passed, line.measured) == (False, None)
        assert line.reason == "there is no baseline to compare with"
        assert "--save-baseline" in line.remedy


def test_a_baseline_without_the_file_fails(old, builds, line_of):
    def drop(document):
        document["artifacts"] = [a for a in document["artifacts"] if a["format"] != "tflite"]

    builds.edit_json(old / "manifest.json", drop)
    line, _ = line_of("max_growth", '"2 %"', load_baseline(old))
    assert not line.passed
    assert line.reason.startswith("the baseline digits has no file like this one: it holds digits.")


def test_a_size_that_the_baseline_did_not_measure_fails(old, line_of):
    (old / "bench.json").unlink()
    (line,) = line_of("max_growth", '{ peak_memory = "2 %" }', load_baseline(old))
    assert "has no peak_memory of digits.int8.tflite" in line.reason


def test_a_size_that_this_build_did_not_measure_fails(build, old, line_of):
    (build / "bench.json").unlink()
    (line,) = line_of("max_growth", '{ peak_memory = "2 %" }', load_baseline(old))
    assert "there is no bench.json" in line.reason


def test_a_missing_baseline_is_bad_input(tmp_path):
    with pytest.raises(BuildError, match="none is missing") as caught:
        load_baseline(tmp_path / "none")
    assert caught.value.exit_code == 2


def test_a_damaged_baseline_is_bad_input(tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"name": 3}))
    with pytest.raises(BuildError, match=r"baseline\.json is damaged"):
        load_baseline(path)
