from __future__ import annotations

import pytest

from exporter.errors import RecipeError
from exporter.gate import check

TFLITE, ONNX = "digits.int8.tflite", "digits.int8.onnx"
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def line_of(build, budget_of):
    def line(limit: str, value: str, artifact: str = TFLITE, more: str = ""):
        budget = budget_of(f'[limits."{artifact}"]\n{limit} = {value}\n{more}')
        (found,) = [line for line in check(build, budget).lines if line.limit == limit]
        return found

    return line


@pytest.mark.parametrize(
    ("limit", "kept", "broken", "reason"),
    [
        (
            "operators",
            '["CONV_2D", "ADD", "FULLY_CONNECTED", "SOFTMAX"]',
            '["CONV_2D", "FULLY_CONNECTED"]',
            f"not allowed: 3{TIMES} ADD (version 2)",
        ),
        ("operator_version", "4", "3", f"newer than allowed: 1{TIMES} FULLY_CONNECTED (version 4)"),
        (
            "operator_version",
            '{ CONV_2D = 3, "*" = 4 }',
            '{ CONV_2D = 2, "*" = 4 }',
            f"newer than allowed: 9{TIMES} CONV_2D (version 3)",
        ),
    ],
)
def test_operators_are_held(line_of, limit, kept, broken, reason):
    assert line_of(limit, kept).passed
    line = line_of(limit, broken)
    assert (line.passed, line.reason) == (False, reason)
    assert line.remedy


def test_an_operator_without_a_limit_may_have_any_version(line_of):
    assert line_of("operator_version", "{ ADD = 2 }").passed


def test_a_list_may_be_named_for_a_device(line_of):
    lists = '[operators]\nold-phone = ["CONV_2D", "ADD"]'
    line = line_of("operators", '"old-phone"', more=lists)
    assert (line.passed, line.limit_text) == (False, "CONV_2D, ADD")
    assert f"1{TIMES} FULLY_CONNECTED" in line.reason


def test_float_operators_are_named_unless_allowed(line_of):
    assert line_of("float_operators", "[]").passed
    line = line_of("float_operators", "[]", ONNX)
    assert (line.passed, line.limit_text) == (False, "none")
    assert line.reason == f"in float: 2{TIMES} HardSwish (version 20)"
    assert line_of("float_operators", '["HardSwish"]', ONNX).passed


@pytest.mark.parametrize(
    ("limit", "value"),
    [("operators", '["CONV_2D"]'), ("operator_version", "9"), ("float_operators", "[]")],
)
def test_what_was_not_listed_fails(build, line_of, limit, value):
    (build / "contents.json").unlink()
    line = line_of(limit, value)
    assert (line.passed, line.measured) == (False, None)
    assert "contents.json has no entry of it" in line.reason
    assert "edgewright report" in line.remedy


def test_the_listing_of_another_file_is_not_believed(build, builds, line_of):
    def alter(document):
        document["files"][0]["sha256"] = "0" * 64

    builds.edit_json(build / "contents.json", alter)
    assert not line_of("operator_version", "9").passed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("operators = 3", 'operators such as ["CONV_2D", "ADD"], or the name of a list'),
        ("operators = [3]", "found [3]"),
        ('operators = "phone"', "names a list that is not there"),
        ("operator_version = 0", "expected a version such as 3"),
        ("operator_version = true", "expected a version such as 3"),
        ("operator_version = { ADD = 1.5 }", "found 1.5 for 'ADD'"),
        ('float_operators = "none"', "found 'none'"),
        ('smoke = "clean"', 'expected "passed", or the devices such as ["local", "pi4"]'),
        ("max_growth = 2", 'expected at most 1, found 2; write "2 %" or 0.02'),
        ('max_growth = { files = "2 %" }', "expected some of file_bytes, package_bytes"),
        ("max_growth = {}", "found none"),
        ('max_slowdown = "2 %"', 'one limit a device such as { local = "2 %" or 0.02 }'),
        ('arena = "9 KB"', "unit 'KB' is not one of"),
    ],
)
def test_refuses_what_it_cannot_hold(budget_of, text, message):
    with pytest.raises(RecipeError) as caught:
        budget_of(f'[limits."*"]\n{text}')
    assert message in str(caught.value)


def test_refuses_lists_that_are_none(budget_of):
    with pytest.raises(RecipeError, match="holds something else than lists"):
        budget_of('[limits."*"]\nfile_bytes = 1\n[operators]\nphone = "CONV_2D"')


def test_an_ort_file_says_where_its_operators_are_held(line_of):
    line = line_of("float_operators", "[]", "digits.int8.ort")
    assert (line.passed, line.reason) == (False, "the operators of .ort files are not listed")


def test_long_lists_do_not_fill_the_table(line_of):
    """They would press the other columns flat; the reason has the names."""
    names = ", ".join(f'"OPERATOR_{i}"' for i in range(40))
    line = line_of("operators", f"[{names}]")
    assert line.limit_text == "40 listed"
    assert line.measured_text == "3 not allowed"
    assert "CONV_2D" in line.reason
