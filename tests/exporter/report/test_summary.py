from __future__ import annotations

import io

import pytest
from rich.console import Console

from exporter.errors import BuildError
from exporter.report import summary_rows, summary_table

TFLITE = "digits.int8.tflite"


def shown(rows) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(summary_table(rows))
    return console.file.getvalue()


def test_rows_in_order_with_everything_measured(build):
    fp32, tflite, onnx = summary_rows(build)
    assert [row.label for row in (fp32, tflite, onnx)] == [
        "fp32 · ONNX Runtime",
        "int8 · TFLite",
        "int8 · ONNX Runtime",
    ]
    assert (fp32.ratio, fp32.package_bytes, fp32.drop_pt) == (1.0, None, 0.0)
    assert (tflite.accuracy, tflite.file_bytes, tflite.package_bytes) == (0.979, 84_216, 14_902)
    assert tflite.ratio == pytest.approx(310_400 / 14_902)  # the fp32 .tflite, as the gate has it
    assert onnx.ratio == pytest.approx(312_640 / 15_310)
    assert tflite.p50_ms < tflite.p90_ms
    assert tflite.peak_memory_bytes == 38_073_794


def test_what_was_not_measured_is_none(build):
    for name in ("accuracy.json", "bench.json", "certificate.json"):
        (build / name).unlink()
    (_, tflite, _) = summary_rows(build)
    assert (tflite.accuracy, tflite.drop_pt) == (None, None)
    assert (tflite.p50_ms, tflite.p90_ms, tflite.peak_memory_bytes) == (None, None, None)


def test_files_that_were_not_built_have_no_row(build, builds):
    def change(document):
        document["artifacts"] = [a for a in document["artifacts"] if a["path"] == TFLITE]

    builds.edit_json(build / "manifest.json", change)
    (row,) = summary_rows(build)
    assert (row.label, row.ratio) == ("int8 · TFLite", None)


@pytest.mark.parametrize(
    "other",
    [
        {"device": "pi4"},
        {"delegate": "none"},
        {"valid": False},
        {"threads": 4},
    ],
)
def test_one_measurement_stands_for_many(build, builds, other):
    def change(document):
        row = next(row for row in document["rows"] if row["artifact"] == TFLITE)
        document["rows"].insert(0, {**row, **other, "p50_ms": 99.0})

    builds.edit_json(build / "bench.json", change)
    (_, tflite, _) = summary_rows(build)
    assert tflite.p50_ms < 1


def test_unknown_memory_is_not_zero_memory(build, builds):
    def change(document):
        for row in document["rows"]:
            row.update(peak_load_bytes=0, peak_inference_bytes=0)

    builds.edit_json(build / "bench.json", change)
    assert summary_rows(build)[0].peak_memory_bytes is None


def test_the_table_has_units(build):
    text = shown(summary_rows(build))
    for value in ("97.90 %", "0.40 pt", "84.2 kB", "14.9 kB", "20.8\N{MULTIPLICATION SIGN}"):
        assert value in text
    assert "313 \N{MICRO SIGN}s" in text
    assert "38.1 MB" in text
    assert "~" not in text


def test_the_table_marks_times_that_were_not_steady(build, builds):
    def change(document):
        document["rows"][1]["valid"] = False

    builds.edit_json(build / "bench.json", change)
    assert "~313 \N{MICRO SIGN}s" in shown(summary_rows(build))


def test_the_table_of_a_build_that_was_not_measured_has_dashes(build):
    for name in ("accuracy.json", "bench.json"):
        (build / name).unlink()
    assert shown(summary_rows(build)).count("\N{EN DASH}") >= 5 * 3


def test_a_missing_manifest_is_bad_input(tmp_path):
    with pytest.raises(BuildError, match=r"manifest\.json is missing"):
        summary_rows(tmp_path)
