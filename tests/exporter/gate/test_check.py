from __future__ import annotations

import re

import pytest

from exporter.build import sha256_of
from exporter.errors import BuildError
from exporter.gate import check

TFLITE = "digits.int8.tflite"
LATENCIES = ("latency_p50", "latency_p90", "latency_p99")


@pytest.fixture
def line_of(build, budget_of):
    """The one line that a limit gives for the int8 .tflite."""

    def line(limit: str, value: str, pattern: str = "*.int8.tflite"):
        verdict = check(build, budget_of(f'[limits."{pattern}"]\n{limit} = {value}'))
        (found,) = [line for line in verdict.lines if line.limit == limit]
        return found

    return line


def edit_row(builds, path, file_name, **changes):
    def change(document):
        for row in document["rows"]:
            if row["artifact"] == file_name:
                row.update(changes)

    builds.edit_json(path, change)


@pytest.mark.parametrize(
    ("limit", "met", "broken", "unit", "over"),
    [
        ("file_bytes", "84216", "84215", "B", 1),
        ("package_bytes", "14902", "14901", "B", 1),
        ("accuracy", "0.979", "0.98", "", 0.001),
        ("accuracy_drop", "0.4", "0.3", "pt", 0.1),
        ("peak_memory", "38073794", "38073793", "B", 1),
        ("load", '"1.86 ms"', '"1.85 ms"', "ms", 0.01),
        ("compression_ratio", "20.5", "21", "\N{MULTIPLICATION SIGN}", 21 - 310_400 / 14_902),
    ],
)
def test_a_limit_exactly_met_is_kept_and_the_least_more_is_not(
    line_of, limit, met, broken, unit, over
):
    kept, failed = line_of(limit, met), line_of(limit, broken)
    assert kept.passed
    assert (kept.reason, kept.remedy) == ("", "")
    assert not failed.passed
    assert failed.unit == unit
    assert failed.over == pytest.approx(over)
    assert "the limit" in failed.reason
    assert failed.remedy


def test_the_exact_ratio_is_kept(build, builds, budget_of):
    """20 times, neither more nor less: the fp32 file has 20 times the package's bytes."""
    size = builds.PACKAGE_BYTES[TFLITE] * 20
    path = build / builds.FP32
    path.write_bytes(b"x" * size)

    def change(document):
        for artifact in document["artifacts"]:
            if artifact["precision"] == "fp32":
                artifact.update(path=path.name, bytes=size, sha256=sha256_of(path))

    builds.edit_json(build / "manifest.json", change)
    assert check(build, budget_of('[limits."*.int8.tflite"]\ncompression_ratio = 20')).passed


@pytest.mark.parametrize("limit", LATENCIES)
def test_latency_is_held_on_the_device_named(build, builds, line_of, limit):
    edit_row(builds, build / "bench.json", TFLITE, p50_ms=2.0, p90_ms=2.0, p99_ms=2.0)
    kept = line_of(limit, '{ local = "2 ms" }')
    assert (kept.passed, kept.device, kept.measured) == (True, "local", 2.0)
    failed = line_of(limit, '{ local = "1999 us" }')
    assert failed.reason == "1.00 \N{MICRO SIGN}s (0.05 %) over the limit"
    assert failed.source == "on local in litert with xnnpack, 1 thread"


def test_the_worst_row_decides(build, builds, budget_of):
    def change(document):
        row = next(row for row in document["rows"] if row["artifact"] == TFLITE)
        document["rows"].append({**row, "threads": 4, "p90_ms": 9.0})

    builds.edit_json(build / "bench.json", change)
    budget = budget_of('[limits."*.int8.tflite"]\nlatency_p90 = { local = "2 ms" }')
    (failed,) = check(build, budget).failures
    assert (failed.measured, failed.source) == (9.0, "on local in litert with xnnpack, 4 threads")


@pytest.mark.parametrize(
    ("removed", "limit", "value", "reason"),
    [
        ("bench.json", "latency_p90", '{ local = "2 s" }', "there is no bench.json"),
        ("bench.json", "peak_memory", '"1 GB"', "there is no bench.json"),
        ("bench.json", "load", '"10 s"', "there is no bench.json"),
        ("accuracy.json", "accuracy", "0", "there is no accuracy.json"),
        ("accuracy.json", "accuracy_drop", "100", "there is no accuracy.json"),
        ("certificate.json", "certificate", '"clean"', "there is no certificate.json"),
        (TFLITE, "file_bytes", '"1 GB"', "the file is missing"),
        (f"{TFLITE}.ewp", "package_bytes", '"1 GB"', "the package digits.int8.tflite.ewp is"),
        (f"{TFLITE}.ewp", "compression_ratio", "1", "the package digits.int8.tflite.ewp is"),
        ("digits.fp32.tflite", "compression_ratio", "1", "digits.fp32.tflite: the file is missing"),
    ],
)
def test_what_was_not_measured_fails(build, line_of, removed, limit, value, reason):
    assert line_of(limit, value).passed
    (build / removed).unlink()
    line = line_of(limit, value)
    assert not line.passed
    assert line.measured is None
    assert reason in line.reason
    assert line.remedy


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("latency_p90", '{ local = "2 s" }', "bench.json has no row for this file"),
        ("peak_memory", '"1 GB"', "bench.json has no row for this file"),
        ("accuracy", "0", "accuracy.json has no row for this file"),
        ("certificate", '"clean"', "the certificate does not cover this file"),
        ("package_bytes", '"1 GB"', "there is no package of this file"),
    ],
)
def test_a_file_without_a_row_fails(line_of, limit, value, reason):
    line = line_of(limit, value, pattern="*.ort")
    assert (line.passed, line.reason) == (False, reason)


def test_a_device_that_was_not_measured_fails(line_of):
    line = line_of("latency_p90", '{ "ssh://pi@board" = "2 s" }')
    assert (line.passed, line.measured) == (False, None)
    assert line.reason == "not measured on ssh://pi@board: only on local"
    assert "--device ssh://pi@board" in line.remedy


@pytest.mark.parametrize(
    ("limit", "value"),
    [*((limit, '{ local = "2 s" }') for limit in LATENCIES), ("load", '"10 s"')],
)
def test_an_invalid_measurement_is_no_time(build, builds, line_of, limit, value):
    edit_row(builds, build / "bench.json", TFLITE, valid=False, notes=["throttled", "hot"])
    line = line_of(limit, value)
    assert (line.passed, line.measured) == (False, None)
    assert "is marked invalid (throttled; hot)" in line.reason


def test_unknown_memory_is_not_zero_memory(build, builds, line_of):
    edit_row(builds, build / "bench.json", TFLITE, peak_load_bytes=0, peak_inference_bytes=0)
    line = line_of("peak_memory", '"1 GB"')
    assert (line.passed, line.measured) == (False, None)
    assert "memory is unknown" in line.reason


def test_a_value_that_is_no_number_fails(build, builds, line_of):
    edit_row(builds, build / "accuracy.json", TFLITE, drop_pt=float("nan"))
    line = line_of("accuracy_drop", "100")
    assert (line.passed, line.measured) == (False, None)
    assert line.reason == "the measured value is not a number"


def test_there_must_be_an_fp32_file_to_compare_with(build, builds, line_of):
    def change(document):
        document["artifacts"] = [a for a in document["artifacts"] if a["precision"] == "int8"]

    builds.edit_json(build / "manifest.json", change)
    assert line_of("compression_ratio", "1").reason == "there is no fp32 file to compare with"


def test_a_file_of_another_format_is_compared_with_the_fp32_onnx(build, builds, line_of):
    def change(document):
        document["artifacts"] = [
            a for a in document["artifacts"] if a["path"] != "digits.fp32.tflite"
        ]

    assert line_of("compression_ratio", "1").source == "from digits.fp32.tflite"
    builds.edit_json(build / "manifest.json", change)
    assert line_of("compression_ratio", "1").source == "from digits.fp32.onnx"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(verdict="differs"), "the certificate's verdict is 'differs'"),
        (
            lambda c: c["checks"][1].update(passed=False, detail="conv2"),
            "check 'no float tensor but the named islands' failed: conv2",
        ),
        (
            lambda c: c["outputs"][1].update(differing=3, max_lsb=2),
            "digits.int8.onnx in ONNX Runtime differs in 3 of 2560 output values, by up to 2 LSB",
        ),
    ],
)
def test_a_certificate_that_is_not_clean_fails(build, builds, line_of, change, reason):
    assert line_of("certificate", '"clean"').passed
    builds.edit_json(build / "certificate.json", change)
    line = line_of("certificate", '"clean"')
    assert (line.passed, line.measured, line.reason) == (False, "differs", reason)


def test_a_certificate_that_is_not_clean_names_the_layers_that_differ_most(build, builds, line_of):
    def layer(name, differing):
        row = {"layer": name, "runtime": "LiteRT, XNNPACK", "values": 900}
        return row | {"differing": differing, "max_lsb": 2}

    counts = {"a": 0, "b": 5, "c": 70, "d": 6, "e": 8}
    found = [layer(name, differing) for name, differing in counts.items()]
    builds.edit_json(build / "certificate.json", lambda c: c.update(layers=found))
    assert line_of("certificate", '"clean"').details == ()
    builds.edit_json(build / "certificate.json", lambda c: c.update(verdict="differs"))
    details = line_of("certificate", '"clean"').details
    assert [text.partition(":")[0] for text in details] == ["c", "e", "d"]
    assert details[0] == "c: 70 of 900 integers differ in LiteRT, XNNPACK, by up to 2 LSB"


@pytest.mark.parametrize("name", [TFLITE, f"{TFLITE}.ewp"])
@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda data: data[:-1], "altered since the build"),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "its SHA-256 is not the manifest's"),
    ],
)
def test_an_altered_file_fails(build, budget_of, name, alter, reason):
    path = build / name
    budget = budget_of('[limits."*.int8.tflite"]\nfile_bytes = "1 GB"')
    assert check(build, budget).passed
    path.write_bytes(alter(path.read_bytes()))
    (failed,) = check(build, budget).failures
    assert (failed.artifact, failed.limit) == (name, "file matches manifest")
    assert reason in failed.reason


def test_sizes_come_from_the_disk(build, builds, line_of):
    (build / TFLITE).write_bytes(b"x")
    assert line_of("file_bytes", "1").passed


def test_a_glob_without_an_artifact_fails(build, budget_of):
    (line,) = check(build, budget_of('[limits."*.TFLITE"]\nfile_bytes = 1')).lines
    assert not line.passed
    assert line.artifact == "*.TFLITE"
    assert line.reason.startswith(
        "no artifact matches '*.TFLITE'; the build holds digits.fp32.onnx"
    )


def test_every_matching_artifact_gets_its_lines_and_its_file_is_hashed_once(build, budget_of):
    budget = budget_of(
        '[limits."*.int8.*"]\nfile_bytes = "1 GB"\n[limits."*.tflite"]\nfile_bytes = "1 MB"'
    )
    lines = check(build, budget).lines
    assert [line.artifact for line in lines if line.limit == "file_bytes"] == [
        TFLITE,
        "digits.int8.onnx",
        "digits.int8.ort",
        "digits.fp32.tflite",
        TFLITE,
    ]
    assert (
        sum(line.limit.startswith("file matches") and line.artifact == TFLITE for line in lines)
        == 1
    )


def test_an_artifact_whose_name_another_shares_is_told_by_its_file(build, builds, line_of):
    """Where every artifact is called "digits", a row of that name is nobody's measurement."""

    def share_name(document):
        for artifact in document["artifacts"]:
            artifact["name"] = "digits"

    builds.edit_json(build / "manifest.json", share_name)
    edit_row(builds, build / "accuracy.json", TFLITE, artifact="digits")
    assert line_of("accuracy", "0").reason == "accuracy.json has no row for this file"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", None, "manifest.json is missing"),
        ("manifest.json", "{", "manifest.json is damaged"),
        ("bench.json", "{}", "bench.json is damaged"),
        ("accuracy.json", "[]", "accuracy.json is damaged"),
        ("certificate.json", "", "certificate.json is damaged"),
    ],
)
def test_a_damaged_build_is_bad_input(build, budget_of, name, text, message):
    (build / name).unlink()
    if text is not None:
        (build / name).write_text(text)
    budget = budget_of(
        '[limits."*.int8.tflite"]\npeak_memory = 1\naccuracy = 0\ncertificate = "clean"'
    )
    with pytest.raises(BuildError, match=re.escape(message)) as caught:
        check(build, budget)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["../digits.int8.tflite", "/etc/hostname"])
@pytest.mark.parametrize("package", [False, True])
def test_a_manifest_that_leaves_the_directory_is_refused(build, builds, budget_of, path, package):
    def change(document):
        artifact = document["artifacts"][2]
        (artifact["package"] if package else artifact)["path"] = path

    builds.edit_json(build / "manifest.json", change)
    with pytest.raises(BuildError, match="a path that leaves it"):
        check(build, budget_of('[limits."*"]\nfile_bytes = 1'))
