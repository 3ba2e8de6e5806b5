from __future__ import annotations

from exporter.gate import check
from exporter.gate.places import places

TEXT = """# limits = 3
[limits."*.int8.tflite"]     # a glob
file_bytes = "1 B"
  latency_p90 = { local = "2 ms" }
"smoke" = "passed"

[operators]
file_bytes = ["not a limit"]

[ limits . 'b.onnx' ]
file_bytes = 3
"""


def test_limits_are_found_on_their_lines():
    assert places(TEXT, "limits") == {
        "*.int8.tflite": {"": 2, "file_bytes": 3, "latency_p90": 4, "smoke": 5},
        "b.onnx": {"": 10, "file_bytes": 11},
    }


def test_a_line_of_the_verdict_knows_its_place(build, budget_of):
    verdict = check(build, budget_of(TEXT.replace("b.onnx", "*.onnx")))
    lines = {(line.artifact, line.title): line.budget_line for line in verdict.lines}
    assert lines["digits.int8.tflite", "file_bytes"] == 3
    assert lines["digits.int8.tflite", "latency_p90 on local"] == 4
    assert lines["digits.int8.tflite.ewp", "file matches manifest"] == 2
    assert lines["digits.int8.onnx", "file_bytes"] == 11
    assert verdict.budget.endswith("budget.toml")


def test_what_is_not_found_has_no_place(budget_of):
    """Dotted keys are TOML too; nobody writes budgets so, and nothing depends on their place."""
    (section,) = budget_of('limits."*".file_bytes = 3').sections
    assert section.line("file_bytes") is None


def test_a_glob_without_an_artifact_stands_at_its_section(build, budget_of):
    (line,) = check(build, budget_of('\n\n[limits."none"]\nfile_bytes = 1')).lines
    assert line.budget_line == 3
