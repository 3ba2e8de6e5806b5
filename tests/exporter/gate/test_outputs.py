from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError
from rich.console import Console

from exporter.gate import Line, Verdict, check
from exporter.gate.junit import to_junit, write_junit
from exporter.gate.markdown import MARKER, to_markdown, write_markdown
from exporter.gate.table import render

BUDGET = """
[limits."*.int8.tflite"]
file_bytes = "84215 B"
accuracy_drop = "1.0 pt"
latency_p90 = { phone = "2 ms" }
"""
HOSTILE = "[red]a|b`<script>@you\x1b[2J\x00\n*.tflite"


@pytest.fixture
def verdict(build, budget_of):
    return check(build, budget_of(BUDGET))


@pytest.fixture
def hostile():
    line = Line(artifact=HOSTILE, limit="file_bytes", passed=False, reason=HOSTILE, remedy=HOSTILE)
    return Verdict(name=HOSTILE, lines=(line,))


def shown(verdict: Verdict, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render(verdict))
    return console.file.getvalue()


def test_a_verdict_is_frozen(verdict):
    with pytest.raises(ValidationError, match="frozen"):
        verdict.lines[0].passed = True


def test_a_verdict_without_lines_does_not_pass():
    assert not Verdict(name="digits", lines=()).passed


def test_the_document_holds_every_line(verdict):
    document = json.loads(verdict.to_json())
    assert (document["schema_version"], document["name"]) == (1, "digits")
    assert (document["passed"], document["checks"], document["failures"]) == (False, 5, 2)
    line = next(line for line in document["lines"] if line["limit"] == "file_bytes")
    assert (line["limit_value"], line["measured"], line["over"]) == (84_215, 84_216, 1)


def test_the_table_shows_every_line_and_what_to_do(verdict):
    text = shown(verdict)
    assert "≤ 84.215 kB" in text
    assert "84.216 kB" in text
    assert "1 B (0.0012 %) over" in text
    assert "0.60 pt (60 %) left" in text
    assert "✗ digits does not pass: 2 of 5 checks failed" in text
    assert "what helps: an int8 file holds one byte a weight" in text
    assert "not measured on phone: only on local" in text


def test_a_verdict_that_passes_says_so(build, budget_of):
    text = shown(check(build, budget_of('[limits."*.ort"]\nfile_bytes = 91312')))
    assert "✓ digits passes: all 2 checks are kept" in text
    assert "exactly met" in text
    assert "✗" not in text


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_loses_no_digit(verdict, width):
    assert "84.216 kB" in shown(verdict, width)


def test_the_terminal_gets_no_escape_and_reads_no_markup(hostile):
    text = shown(hostile, width=200)
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "[red]a|b" in text


def test_junit_has_one_case_a_line(verdict):
    root = ET.fromstring(to_junit(verdict))  # noqa: S314 - our own text
    suite = root.find("testsuite")
    cases = suite.findall("testcase")
    assert root.tag == "testsuites"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "2", "0")
    assert len(cases) == len(verdict.lines)
    names = [case.get("name") for case in cases if case.find("failure") is not None]
    assert names == ["file_bytes", "latency_p90 on phone"]
    failure = cases[2].find("failure")
    assert failure.get("message") == "1 B (0.0012 %) over the limit"
    assert "allowed ≤ 84.215 kB, measured 84.216 kB; 1 B (0.0012 %) over" in failure.text


def test_what_was_not_measured_is_not_said_to_be_measured(verdict):
    root = ET.fromstring(to_junit(verdict))  # noqa: S314 - our own text
    (text,) = [one.text for one in root.iter("failure") if one.get("type") == "latency_p90"]
    assert text.startswith("latency_p90 on phone: allowed ≤ 2.00 ms; not measured on phone")


def test_markdown_says_where_a_measurement_is_from(build, budget_of):
    budget = budget_of('[limits."*.int8.tflite"]\nlatency_p90 = { local = "1 us" }\n')
    text = to_markdown(check(build, budget))
    assert "over the limit (on local in litert with xnnpack, 1 thread)." in text


def test_junit_of_hostile_names_is_still_xml(hostile, tmp_path):
    path = tmp_path / "junit.xml"
    write_junit(hostile, path)
    case = ET.parse(path).getroot().find("testsuite/testcase")  # noqa: S314 - our own text
    assert case.get("classname").startswith("[red]a|b`<script>@you")


def test_junit_is_the_same_for_the_same_verdict(verdict):
    assert to_junit(verdict) == to_junit(verdict)


def test_markdown_shows_every_line_and_what_to_do(verdict):
    text = to_markdown(verdict)
    rows = [
        line for line in text.splitlines() if line.startswith("| ✅") or line.startswith("| ❌")
    ]
    assert text.startswith(MARKER)
    assert len(rows) == len(verdict.lines)
    assert "### ❌ digits does not pass: 2 of 5 checks failed" in text
    assert "| ❌ | digits.int8.tflite | file\\_bytes | ≤ 84.215 kB | 84.216 kB |" in text
    assert "*What helps:* an int8 file holds one byte a weight" in text


def test_markdown_of_hostile_names_breaks_neither_table_nor_page(hostile, tmp_path):
    path = tmp_path / "comment.md"
    write_markdown(hostile, path)
    text = path.read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| ❌")]
    assert row.replace("\\|", "").count("|") == 7
    assert "\\<script\\>" in text
    assert "@you" not in text
