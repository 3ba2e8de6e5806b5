from __future__ import annotations

import pytest

from exporter.errors import BuildError
from exporter.gate import Line, Verdict, check
from exporter.gate.github import add_summary, workflow_commands
from exporter.gate.markdown import MARKER


@pytest.fixture
def verdict(build, budget_of):
    return check(build, budget_of('[limits."*.int8.tflite"]\nfile_bytes = 84215\n'))


def test_a_failure_is_an_error_at_the_budget_s_line(verdict):
    moved = verdict.model_copy(update={"budget": "budgets/a,b.toml"})
    (command,) = workflow_commands(moved)
    head, _, message = command.removeprefix("::").partition("::")
    assert head == ("error title=digits.int8.tflite%3A file_bytes,file=budgets/a%2Cb.toml,line=2")
    assert "1 B (0.0012 %25) over the limit" in message
    assert "Layers: layer3.conv: 18.4 kB (75 %25 of all)" in message


def test_a_name_cannot_give_commands():
    line = Line(artifact="a\n::stop-commands::x", limit="b\r\n::warning::", passed=False)
    (command,) = workflow_commands(Verdict(name="digits", lines=(line,)))
    assert "\n" not in command
    assert "\r" not in command


@pytest.mark.parametrize(("lines", "kind"), [((), "error"), (None, "notice")])
def test_without_failures_there_is_one_command(verdict, lines, kind):
    kept = tuple(line for line in verdict.lines if line.passed) if lines is None else lines
    (command,) = workflow_commands(Verdict(name="digits", lines=kept))
    assert command.startswith(f"::{kind} title=edgewright::digits ")


def test_the_summary_is_added_behind_what_stands_there(verdict, tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("# Tests\n")
    assert add_summary(verdict, {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.read_text().startswith(f"# Tests\n{MARKER}")


def test_without_a_runner_there_is_no_summary(verdict):
    assert not add_summary(verdict, {})


def test_a_summary_that_cannot_be_written_is_told(verdict, tmp_path):
    with pytest.raises(BuildError, match="cannot be written"):
        add_summary(verdict, {"GITHUB_STEP_SUMMARY": str(tmp_path)})
