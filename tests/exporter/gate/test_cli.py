"""The commands as a pipeline runs them: exit codes, files, what stands on stdout and on stderr."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from exporter import pipeline
from exporter.build import CERTIFICATE, Certificate, load_json
from exporter.cli import app
from exporter.gate import check, load_baseline

KEPT = '[limits."*.int8.tflite"]\nfile_bytes = 84216\n'
BROKEN = '[limits."*.int8.tflite"]\nfile_bytes = 84215\n'


@pytest.fixture
def edgewright(tmp_path):
    """Runs a command in a directory with budgets in it."""
    (tmp_path / "kept.toml").write_text(KEPT)
    (tmp_path / "broken.toml").write_text(BROKEN)

    def run(*words, env=None):
        argv = [sys.executable, "-m", "exporter.cli", *map(str, words)]
        return subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    return run


def test_a_limit_exactly_met_is_exit_code_0(build, edgewright):
    done = edgewright("check", build, "--budget", "kept.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "✓ digits passes: all 3 checks are kept" in done.stdout


def test_one_byte_over_is_exit_code_1(build, edgewright):
    done = edgewright("check", build, "--budget", "broken.toml")
    assert (done.returncode, done.stderr) == (1, "")
    assert "1 B (0.0012 %) over" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "nowhere", "--budget", "kept.toml"), "manifest.json is missing"),
        (("check", "BUILD", "--budget", "none.toml"), "budget none.toml is missing"),
        (("check", "BUILD", "--budget", "kept.toml", "--baseline", "none"), "baseline none is"),
        (("check", "BUILD"), "--budget"),
        (("compare", "BUILD", "BUILD", "--tolerance", "2"), "expected at most 1, found 2"),
        (("compare", "BUILD", "nowhere"), "manifest.json is missing"),
        (("compare", "BUILD", "BUILD", "--device", "nobody"), "nobody"),
        (("report", "nowhere"), "manifest.json is missing"),
        (("history", "nowhere"), "there is no history at nowhere"),
    ],
)
def test_bad_input_is_exit_code_2(build, edgewright, words, message):
    done = edgewright(*(build if word == "BUILD" else word for word in words))
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.replace("\n", " ")


def test_a_device_that_fails_is_exit_code_3(build, edgewright):
    """Nothing listens on this port of this machine."""
    done = edgewright("compare", build, build, "--rounds", 1, "--device", "ssh://127.0.0.1:9")
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: ")


def test_json_is_all_that_stands_on_stdout(build, edgewright):
    done = edgewright("check", build, "--budget", "broken.toml", "--json", "--github")
    document = json.loads(done.stdout)
    assert (done.returncode, document["passed"], document["failures"]) == (1, False, 1)
    assert done.stderr.startswith("::error title=digits.int8.tflite%3A file_bytes,file=broken.toml")


def test_every_output_is_written(build, edgewright, tmp_path):
    words = ("--junit", "j.xml", "--sarif", "s.sarif", "--markdown", "m.md")
    edgewright("check", build, "--budget", "broken.toml", *words)
    assert "<testsuites" in (tmp_path / "j.xml").read_text()
    assert json.loads((tmp_path / "s.sarif").read_text())["version"] == "2.1.0"
    assert "### ❌" in (tmp_path / "m.md").read_text()


@pytest.mark.parametrize(("budget", "kept"), [("kept.toml", True), ("broken.toml", False)])
def test_a_baseline_is_kept_of_a_release_only(build, edgewright, tmp_path, budget, kept):
    path = tmp_path / "baseline.json"
    edgewright("check", build, "--budget", budget, "--save-baseline", path)
    assert path.exists() == kept
    if kept:
        assert load_baseline(path).name == "digits"


def test_growth_since_a_kept_baseline(build, edgewright, tmp_path):
    edgewright("check", build, "--budget", "kept.toml", "--save-baseline", "baseline.json")
    (tmp_path / "growth.toml").write_text('[limits."*.int8.tflite"]\nmax_growth = "0 %"\n')
    done = edgewright("check", build, "--budget", "growth.toml", "--baseline", "baseline.json")
    assert done.returncode == 0, done.stdout
    assert "max_growth of package_bytes" in done.stdout


RUN = ("run", "recipe.toml")
EXPORT = ("export", "m:f", "--input", "1x1x8x8", "--calibration", "m:d", "--out", "out")


@pytest.mark.parametrize("words", [RUN, EXPORT])
@pytest.mark.parametrize(
    ("verdict", "budget", "code"),
    [("clean", "", 0), ("differs", "", 1), ("differs", KEPT, 0), ("clean", BROKEN, 1)],
)
def test_what_is_built_is_judged_by_its_budget_or_its_certificate(
    build, budget_of, monkeypatch, words, verdict, budget, code
):
    certificate = load_json(build / CERTIFICATE, Certificate)
    certificate = certificate.model_copy(update={"verdict": verdict})
    judged = check(build, budget_of(budget)) if budget else None
    for name in ("build", "run_recipe"):
        made = pipeline.Built(build, certificate, judged)
        monkeypatch.setattr(pipeline, name, lambda *_args, made=made, **_options: made)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.output
    assert f"certificate: {verdict}" in done.output
