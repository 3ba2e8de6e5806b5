"""The outputs against the schemas of those who read them."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
import xmlschema
from pydantic import ValidationError
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from exporter.gate import Line, Verdict, check
from exporter.gate.junit import to_junit
from exporter.gate.sarif import to_sarif

BUDGET = """[limits."*.int8.tflite"]
file_bytes = 84215
accuracy_drop = "1.0 pt"
latency_p90 = { phone = "2 ms" }
"""
HOSTILE = "<b>a|b`%0A::error::@you\x1b[2J\x00\n*.tflite"
MEMBER = "testing/example_scripts/junit-10.xsd"


@pytest.fixture
def verdict(build, budget_of):
    return check(build, budget_of(BUDGET))


@pytest.fixture
def hostile():
    line = Line(
        artifact=HOSTILE,
        limit=HOSTILE,
        passed=False,
        reason=HOSTILE,
        remedy=HOSTILE,
        details=(HOSTILE,),
    )
    return Verdict(name=HOSTILE, lines=(line,), budget=HOSTILE)


@pytest.fixture(scope="session")
def junit_schema():
    """The schema of Jenkins' xUnit plugin, which pytest's source carries and tests itself with."""
    folder = Path(sys.prefix, "schemas")
    source = next(folder.glob("pytest-*.tar.gz"), None)
    if source is None:
        pytest.skip(f"NO JUNIT SCHEMA: pytest's source is not in {folder}; `make setup` puts it")
    with tarfile.open(source) as archive:
        (name,) = [name for name in archive.getnames() if name.endswith(MEMBER)]
        text = archive.extractfile(name).read().decode()
    return xmlschema.XMLSchema(io.StringIO(text))


@pytest.mark.parametrize("which", ["verdict", "hostile"])
def test_junit_is_what_ci_servers_read(junit_schema, which, request):
    junit_schema.validate(to_junit(request.getfixturevalue(which)))


def test_the_junit_schema_would_tell(junit_schema, verdict):
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        junit_schema.validate(to_junit(verdict).replace("<testcase", '<testcase odd="1"', 1))


@pytest.mark.parametrize("which", ["verdict", "hostile"])
def test_sarif_is_what_its_schema_says(which, request):
    document = to_sarif(request.getfixturevalue(which))
    log = Sarif.model_validate_json(document)
    (run,) = log.runs
    assert len(run.results) == len(request.getfixturevalue(which).failures)


def test_the_sarif_schema_would_tell(verdict):
    document = json.loads(to_sarif(verdict))
    document["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(ValidationError, match="level"):
        Sarif.model_validate(document)


def test_sarif_points_at_the_budget_s_line(verdict):
    results = json.loads(to_sarif(verdict))["runs"][0]["results"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 2}
    assert place["artifactLocation"]["uri"].startswith("file:///")
    assert results[0]["ruleId"] == "file_bytes"
    assert "84.216 kB; 1 B (0.0012 %) over the limit" in results[0]["message"]["text"]


def test_sarif_of_a_relative_budget_is_relative(verdict):
    moved = verdict.model_copy(update={"budget": "release budgets/budget.toml"})
    place = json.loads(to_sarif(moved))["runs"][0]["results"][0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "release%20budgets/budget.toml"


def test_what_makes_an_alert_one_is_not_its_value(build, builds, verdict, budget_of):
    """Tomorrow's byte more is the same alert, not a new one beside a closed one."""
    (build / "digits.int8.tflite").write_bytes(bytes(90_000))
    later = check(build, budget_of(BUDGET))
    prints = [
        {
            result["partialFingerprints"]["edgewright/v1"]
            for result in json.loads(to_sarif(one))["runs"][0]["results"]
            if result["ruleId"] == "file_bytes"
        }
        for one in (verdict, later)
    ]
    assert prints[0] == prints[1]


def test_a_build_that_passes_has_no_result(build, budget_of):
    passing = check(build, budget_of('[limits."*.ort"]\nfile_bytes = 91312'))
    (run,) = json.loads(to_sarif(passing))["runs"]
    assert run["results"] == run["tool"]["driver"]["rules"] == []
