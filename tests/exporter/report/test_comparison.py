from __future__ import annotations

import dataclasses
import re

import pytest

from exporter.gate.evidence import Evidence
from exporter.gate.turns import TurnRow, write_turns
from exporter.report.comparison import file_changes, write_comparison
from exporter.report.summary import build_rows

TFLITE = "digits.int8.tflite"
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def old(tmp_path, builds):
    return builds.write_build(tmp_path / "old")


@pytest.fixture
def page_of(build, old, layers):
    def page(new_layers=None) -> str:
        both = (layers if new_layers is None else new_layers, layers)
        path = write_comparison(Evidence(build), Evidence(old), both)
        assert path == build / "compared.html"
        return path.read_text()

    return page


def words(page: str) -> str:
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_a_build_beside_itself_has_no_change(page_of):
    text = words(page_of())
    assert "accuracy 97.90 % 97.90 % no change" in text
    assert "No layer's weights changed" in text
    assert "These builds were not measured in turns. edgewright compare NEW OLD" in text


def test_figures_are_told_with_their_change_and_whether_it_is_good(build, old, builds):
    def change(document):
        for artifact in document["artifacts"]:
            if artifact["path"] == TFLITE:
                artifact["bytes"] = 42_108
                artifact["package"]["bytes"] = 17_882

    def learn(document):
        document["rows"][1]["accuracy"] = 0.984

    def slow(document):
        document["rows"][1]["p50_ms"] *= 2

    builds.edit_json(build / "manifest.json", change)
    builds.edit_json(build / "accuracy.json", learn)
    builds.edit_json(build / "bench.json", slow)
    files = file_changes(build_rows(Evidence(build)), build_rows(Evidence(old)))
    (tflite,) = [file for file in files if file.label == "int8 · TFLite"]
    found = {row.caption: (row.change, row.tone) for row in tflite.changes}
    assert found["accuracy"] == ("+0.50 pt", "good")
    assert found["file"] == (f"{MINUS}50.00 %", "good")
    assert found["package"] == ("+20.00 %", "bad")
    # Two days' times prove nothing, so they are neither good nor bad.
    assert found["p50"] == ("+100.00 %", "")


def test_layers_that_changed_are_drawn_and_listed(page_of, layers):
    thicker = dataclasses.replace(layers[5], zeros=0, entropy_bits=3.0)
    renamed = dataclasses.replace(layers[0], name="stem")
    page = page_of([renamed, *layers[1:5], thicker])
    assert "3 layers changed; the build has 6" in words(page)
    assert "features.5.conv 295 kB 295 kB 44.2 kB 111 kB 69.44 % 0.00 %" in words(page)
    assert page.count("<svg") == 1


def test_rounds_in_turns_are_judged_and_drawn(build, old, page_of):
    def sha256(directory):
        return Evidence(directory).manifest.artifact("tflite", "int8").sha256

    row = TurnRow(
        artifact=TFLITE,
        sha256=sha256(build),
        baseline_artifact=TFLITE,
        baseline_sha256=sha256(old),
        device="local",
        runtime="litert",
        threads=1,
        seconds=0.5,
        new_ms=tuple(0.33 + 0.001 * (i % 3) for i in range(12)),
        baseline_ms=tuple(0.3 + 0.001 * (i % 2) for i in range(12)),
    )
    few = row.model_copy(update={"device": "pi4", "new_ms": (1.0,), "baseline_ms": (1.0,)})
    other = row.model_copy(update={"device": "desk", "sha256": "0" * 64})
    write_turns(build, [row, few, other])
    page = page_of()
    assert "local 12 +10.1" in words(page)
    assert "worse" in words(page)
    assert "too few rounds to say" in words(page)
    assert "desk" not in words(page)
    assert page.count("<svg") == 1


def test_it_asks_for_nothing_and_escapes_names(build, old, builds, layers):
    hostile = "<script>alert(1)</script>"
    builds.edit_json(build / "manifest.json", lambda document: document.update(name=hostile))
    changed = [dataclasses.replace(layers[0], name=hostile, zeros=0), *layers[1:]]
    path = write_comparison(Evidence(build), Evidence(old), (changed, layers))
    page = path.read_text()
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "Content-Security-Policy" in page
