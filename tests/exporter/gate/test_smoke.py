from __future__ import annotations

import pytest

from exporter.build import Manifest, load_json
from exporter.gate import check

TFLITE = "digits.int8.tflite"


@pytest.fixture
def lines_of(build, budget_of):
    def lines(value: str, artifact: str = TFLITE):
        verdict = check(build, budget_of(f'[limits."{artifact}"]\nsmoke = {value}'))
        return [line for line in verdict.lines if line.limit == "smoke"]

    return lines


@pytest.fixture
def edit(build, builds):
    def change(**changes):
        builds.edit_json(build / "smoke.json", lambda document: document["rows"][0].update(changes))

    return change


def test_it_passes_wherever_it_ran(lines_of):
    (line,) = lines_of('"passed"')
    assert (line.passed, line.measured, line.source) == (
        True,
        "passed",
        "on local in litert, 256 inputs",
    )


def test_each_device_named_has_a_line(lines_of):
    local, phone = lines_of('["local", "phone"]')
    assert (local.passed, local.title) == (True, "smoke on local")
    assert (phone.passed, phone.measured) == (False, None)
    assert phone.reason == "smoke.json has no row for this file on phone"
    assert phone.remedy.endswith("--device phone`")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"passed": False, "differing": 3, "max_lsb": 2},
            "digits.int8.tflite: 3 of 2560 output values differ on local in litert, by up to 2 LSB",
        ),
        (
            {"passed": False, "error": "no interpreter"},
            "digits.int8.tflite on local: no interpreter",
        ),
        ({"file_sha256": "0" * 64}, "the smoke test on local ran another file than this one"),
    ],
)
def test_a_smoke_test_that_failed_fails(edit, lines_of, changes, reason):
    edit(**changes)
    (line,) = lines_of('"passed"')
    assert (line.passed, line.measured) == (False, "failed")
    assert line.reason.startswith(reason)


def test_a_file_that_was_not_run_fails_and_says_what_to_do(edit, lines_of):
    edit(passed=False, not_run="no interpreter for .tflite files")
    (line,) = lines_of('"passed"')
    assert (line.passed, line.measured) == (False, "not run")
    assert line.reason == "digits.int8.tflite on local: not run: no interpreter for .tflite files"
    assert line.remedy.startswith("install it there, then run `edgewright smoke")


def test_a_package_that_failed_fails(build, builds, lines_of):
    def change(document):
        document["rows"][1].update(passed=False, differing=1, max_lsb=1)

    builds.edit_json(build / "smoke.json", change)
    (line,) = lines_of('"passed"')
    assert line.reason.startswith("digits.int8.tflite.ewp: 1 of 2560")


def test_builtin_kernels_pass_within_what_the_certificate_allows(edit, lines_of):
    edit(differing=212, max_lsb=2, limit_lsb=2, delegate="none")
    (line,) = lines_of('"passed"')
    assert line.passed


def test_without_a_smoke_test_it_fails(build, lines_of):
    (build / "smoke.json").unlink()
    (line,) = lines_of('"passed"')
    assert line.reason == "no smoke test was run: there is no smoke.json"


def test_a_file_that_was_not_tested_fails(lines_of):
    (line,) = lines_of('"passed"', "digits.int8.ort")
    assert (line.passed, line.reason) == (False, "smoke.json has no row for this file")


@pytest.mark.parametrize(
    ("created", "passed"),
    [
        ("2025-03-14T09:26:53Z", True),
        ("2025-03-14T10:26:54+01:00", True),
        ("2025-03-14T09:26:52", False),
        ("2025-03-14T10:26:52+01:00", False),
        ("yesterday", False),
    ],
)
def test_a_smoke_test_of_the_build_before_is_none(build, builds, edit, lines_of, created, passed):
    builds.edit_json(build / "smoke.json", lambda document: document.update(created=created))
    (line,) = lines_of('"passed"')
    assert line.passed == passed
    assert passed or "older than this build" in line.reason
    assert passed or line.remedy.endswith("--device local`")


def test_a_row_that_tells_what_ran_needs_no_date(build, builds, lines_of):
    sha256 = load_json(build / "manifest.json", Manifest).artifacts[2].sha256

    def change(document):
        document["created"] = "2020-01-01T00:00:00Z"
        for row in document["rows"]:
            row["file_sha256"] = sha256

    builds.edit_json(build / "smoke.json", change)
    (line,) = lines_of('"passed"')
    assert line.passed
