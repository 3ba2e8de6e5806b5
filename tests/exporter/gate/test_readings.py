from __future__ import annotations

import random

import pytest

from exporter.build import sha256_of
from exporter.gate import check
from exporter.pack import Options, pack

TFLITE = "digits.int8.tflite"
DELTA = f"{TFLITE}.delta.ewp"


@pytest.fixture
def line_of(build, budget_of):
    def line(limit: str, value: str):
        verdict = check(build, budget_of(f'[limits."{TFLITE}"]\n{limit} = {value}'))
        (found,) = [line for line in verdict.lines if line.limit == limit]
        return found

    return line


def test_agreement_is_the_least_of_all_runtimes(build, builds, line_of):
    def change(document):
        row = document["rows"][1]
        document["rows"].append({**row, "runtime": "tensorflow", "agreement": 0.95})

    assert line_of("agreement", '"99.1 %"').passed
    assert not line_of("agreement", "0.9911").passed
    builds.edit_json(build / "accuracy.json", change)
    line = line_of("agreement", '"99.1 %"')
    assert (line.passed, line.measured, line.source) == (False, 0.95, "in tensorflow")
    assert line.details[0].startswith("layer1.conv: 86.81 % zeros, 18 levels")


def test_pss_is_the_largest_that_a_device_tells(build, builds, line_of):
    def change(document):
        document["rows"][1]["pss_bytes"] = 20_000_000
        document["rows"].append({**document["rows"][1], "device": "pi4", "pss_bytes": 30_000_000})

    builds.edit_json(build / "bench.json", change)
    kept, failed = line_of("pss", '"30 MB"'), line_of("pss", '"29 MB"')
    assert (kept.passed, kept.over, failed.passed) == (True, 0, False)
    assert failed.source == "on pi4 in litert with xnnpack, 1 thread"


def test_the_arena_is_that_of_tflite_s_own_kernels(build, builds, line_of):
    def change(document):
        document["rows"][1]["arena_bytes"] = 151_360

    builds.edit_json(build / "bench.json", change)
    kept, failed = line_of("arena", 151_360), line_of("arena", 151_359)
    assert (kept.passed, kept.over, failed.passed, failed.over) == (True, 0, False, 1)
    assert failed.source == "of TFLite's own kernels in litert on local"
    assert failed.details


def test_the_arena_of_another_runtime_is_not_told(build, budget_of):
    verdict = check(build, budget_of('[limits."*.int8.onnx"]\narena = "1 GB"'))
    (line,) = [line for line in verdict.lines if line.limit == "arena"]
    assert not line.passed
    assert line.reason == "the arena is TFLite's: ONNX Runtime does not tell its own"


def test_a_measurement_of_another_file_is_none(build, builds, line_of):
    def change(document):
        document["rows"][1]["model_sha256"] = "0" * 64

    builds.edit_json(build / "bench.json", change)
    assert line_of("peak_memory", '"1 GB"').reason == "bench.json has no row for this file"


def test_the_device_s_own_reasons_and_remedies_are_told(build, builds, line_of):
    def change(document):
        document["rows"][1].update(
            valid=False, reasons=["throttled"], remedies=["cool it"], notes=["no governor"]
        )

    builds.edit_json(build / "bench.json", change)
    line = line_of("load", '"1 s"')
    assert line.reason.endswith("is marked invalid (throttled)")
    assert line.remedy == "cool it"


@pytest.mark.parametrize(("limit", "word"), [("pss", "PSS"), ("arena", "the arena")])
def test_memory_that_no_device_tells_fails(line_of, limit, word):
    line = line_of(limit, '"1 GB"')
    assert (line.passed, line.measured) == (False, None)
    assert line.reason == f"{word} is unknown on every device that was measured"


def test_memory_of_files_that_were_not_measured_fails(build, line_of):
    (build / "bench.json").unlink()
    assert "there is no bench.json" in line_of("pss", '"1 GB"').reason


@pytest.fixture
def before(build, builds, tmp_path):
    """The file of the release before: a few bytes differ, of a file that packs badly by itself."""
    data = bytearray(random.Random(3).randbytes((build / TFLITE).stat().st_size))
    (build / TFLITE).write_bytes(data)

    def pin(document):
        document["artifacts"][2]["sha256"] = sha256_of(build / TFLITE)

    builds.edit_json(build / "manifest.json", pin)
    data[1000:1010] = bytes(10)
    path = tmp_path / "before.int8.tflite"
    path.write_bytes(data)
    return Options(base=(path,))


def test_a_delta_package_is_measured_on_disk(build, before, line_of):
    pack(build / TFLITE, build / DELTA, before)
    size = (build / DELTA).stat().st_size
    kept = line_of("delta_bytes", str(size))
    assert (kept.passed, kept.over, kept.source) == (True, 0, f"in {DELTA}")
    assert line_of("delta_bytes", str(size - 1)).over == 1


def test_the_largest_of_several_deltas_counts(build, before, line_of):
    pack(build / TFLITE, build / DELTA, before)
    larger = build / f"{TFLITE}.from-1.0.delta.ewp"
    larger.write_bytes(b"x" * 100_000)
    line = line_of("delta_bytes", '"1 MB"')
    assert (line.passed, line.measured) == (False, None)
    assert line.reason.startswith(f"{larger.name}: this is no .ewp package")


def test_a_whole_package_is_no_delta(build, line_of):
    pack(build / TFLITE, build / DELTA)
    assert line_of("delta_bytes", '"1 MB"').reason == (
        f"{DELTA}: it is a whole package, which builds on no file before"
    )


def test_a_delta_to_another_file_is_none(build, builds, before, line_of):
    def change(document):
        document["artifacts"][2]["sha256"] = "0" * 64

    pack(build / TFLITE, build / DELTA, before)
    builds.edit_json(build / "manifest.json", change)
    assert line_of("delta_bytes", '"1 MB"').reason == (
        f"{DELTA}: it restores another file than this one"
    )


def test_without_a_delta_it_fails(line_of):
    line = line_of("delta_bytes", '"1 MB"')
    assert line.reason == "there is no delta package of this file"
    assert f"--base OLD -o {DELTA}" in line.remedy


def test_failures_name_the_layers_that_weigh_most(line_of):
    assert line_of("file_bytes", "1").details == (
        "layer3.conv: 18.4 kB (75 % of all)",
        "layer2.conv: 4.61 kB (19 % of all)",
        "layer1.conv: 1.15 kB (5 % of all)",
    )
    assert line_of("latency_p50", '{ local = "1 us" }').details[0] == (
        "layer3.conv: 3.61 MMAC (73 % of all)"
    )
    assert line_of("peak_memory", "1").details[0].startswith("conv1: 6.27 kB")
    assert line_of("file_bytes", '"1 MB"').details == ()


def test_the_onnx_file_s_layers_are_the_tflite_s(build, budget_of):
    verdict = check(build, budget_of('[limits."digits.int8.onnx"]\nfile_bytes = 1'))
    assert verdict.failures[0].details[0].startswith("layer3.conv")
