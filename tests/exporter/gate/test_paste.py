"""What users paste into their pipelines: held against its schema, and its commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "release-check.md"
BUDGETS = {
    True: '[limits."*.int8.tflite"]\nfile_bytes = 84216\n',
    False: '[limits."*.int8.tflite"]\nfile_bytes = 84215\n',
}


@pytest.fixture(params=[True, False], ids=["kept", "broken"])
def kept(request):
    return request.param


@pytest.fixture
def project(build, kept, tmp_path):
    """A user's repository: a build, and a budget that it keeps or does not."""
    folder = tmp_path / "project"
    (folder / "build").mkdir(parents=True)
    build.rename(folder / "build" / "digits")
    (folder / "budget.toml").write_text(BUDGETS[kept])
    return folder


@pytest.fixture
def environment(tmp_path):
    """Where `edgewright` and `python3` are this environment's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "HOME": str(tmp_path)}


def snippet(name: str) -> str:
    found = re.search(rf"```yaml\n# {re.escape(name)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, f"{PAGE} has no {name}"
    return found[1]


def bash(script: str, folder: Path, environment: dict[str, str]):
    """As GitHub's runner starts it."""
    argv = [shutil.which("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def is_valid(kind: str, text: str, folder: Path) -> None:
    path = folder / "snippet.yml"
    path.write_text(text)
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{kind}", path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("github-actions", "action.yml"),
        ("github-workflows", ".github/workflows/release.yml"),
        ("gitlab-ci", ".gitlab-ci.yml"),
    ],
)
def test_it_fits_its_schema(kind, name, tmp_path):
    text = (ROOT / name).read_text() if name == "action.yml" else snippet(name)
    is_valid(kind, text, tmp_path)


def test_the_schema_would_tell(tmp_path):
    with pytest.raises(AssertionError, match="using"):
        is_valid("github-actions", "name: a\ndescription: b\nruns: {using: x}\n", tmp_path)


def action_step(name: str, inputs: dict[str, str], python: str = "") -> tuple[str, dict[str, str]]:
    """A step's script and variables, its expressions replaced as the runner does.

    `python` is what the step that installs gave, "" where it did not run.
    """
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    values = {key: entry.get("default", "") for key, entry in action["inputs"].items()} | inputs
    (step,) = [step for step in action["runs"]["steps"] if step["name"] == name]
    assert "${{" not in step["run"], "an expression in a script is a way to inject commands"
    names = {"github.action_path": str(ROOT), "steps.install.outputs.python": python}
    names |= {f"inputs.{key}": str(value) for key, value in values.items()}

    def replace(text: str) -> str:
        return re.sub(r"\$\{\{ ([\w.| ]+) \}\}", lambda match: first(match[1]), text)

    def first(expression: str) -> str:
        return next(filter(None, (names[name] for name in expression.split(" || "))), "")

    return step["run"], {key: replace(text) for key, text in step["env"].items()}


def test_the_action_says_what_the_gate_says(project, kept, environment, tmp_path):
    script, variables = action_step("Check", {"directory": "build/digits"})
    output, summary = tmp_path / "output", tmp_path / "summary"
    runner = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    done = bash(script, project, {**environment, **variables, **runner})
    assert done.returncode == (0 if kept else 1), done.stderr
    assert output.read_text() == f"passed={'true' if kept else 'false'}\n"
    sign = "✅" if kept else "❌"
    assert f"### {sign} digits" in summary.read_text()
    reports = project / "edgewright-reports"
    assert sorted(path.name for path in reports.iterdir()) == [
        "comment.md",
        "edgewright.sarif",
        "junit.xml",
    ]
    command = "::notice" if kept else "::error title=digits.int8.tflite%3A file_bytes,"
    assert command in done.stdout


def test_the_action_takes_a_baseline(project, environment, tmp_path):
    inputs = {"directory": "build/digits", "baseline": "no such place"}
    script, variables = action_step("Check", inputs)
    runner = {"GITHUB_OUTPUT": str(tmp_path / "output")}
    done = bash(script, project, {**environment, **variables, **runner})
    assert done.returncode == 2
    assert "the baseline no such place is missing" in done.stderr


@pytest.fixture
def installed(environment, tmp_path):
    """Runs the step that installs; gives the Python that it tells."""

    def run(inputs: dict[str, str]) -> str:
        script, variables = action_step("Install edgewright", {"python": sys.executable, **inputs})
        runner = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_OUTPUT": str(tmp_path / "told")}
        done = bash(script, tmp_path, {**environment, **variables, **runner})
        assert done.returncode == 0, done.stderr
        return (tmp_path / "told").read_text().strip().removeprefix("python=")

    return run


def test_the_action_installs_into_an_environment_of_its_own(installed, tmp_path):
    """A wheel with one module stands for this project: nothing is downloaded."""
    wheel = tmp_path / "stand_in-1.0-py3-none-any.whl"
    info = "stand_in-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("stand_in.py", "import sys; print(sys.prefix)")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: stand_in\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    python = installed({"install": str(wheel)})
    argv = [python, "-m", "stand_in"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "temp" / "edgewright")


@pytest.mark.thorough
def test_the_action_installs_itself_and_checks(installed, project, kept, environment, tmp_path):
    """As on a runner, downloads among it."""
    python = installed({})
    script, variables = action_step("Check", {"directory": "build/digits"}, python)
    assert variables["PYTHON"] == python != sys.executable
    runner = {"GITHUB_OUTPUT": str(tmp_path / "output")}
    done = bash(script, project, {**environment, **variables, **runner})
    assert done.returncode == (0 if kept else 1), done.stderr


def test_gitlab_s_commands_run(project, kept, environment):
    job = yaml.safe_load(snippet(".gitlab-ci.yml"))["models"]
    install, *commands = job["script"]
    # Not by its bare name, under which a registry may hold a stranger's package.
    assert re.fullmatch(r"pip install https://github.com/OWNER/edgewright/\S+\.tar\.gz", install)
    done = bash("\n".join(commands), project, environment)
    assert done.returncode == (0 if kept else 1), done.stderr
    for name in (job["artifacts"]["reports"]["junit"], *job["artifacts"]["paths"]):
        assert (project / name).is_file()


def test_the_hook_s_command_runs(project, kept, environment):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (repo,) = yaml.safe_load(snippet(".pre-commit-config.yaml"))["repos"]
    (used,) = repo["hooks"]
    assert used["id"] == hook["id"]
    arguments = " ".join(f"'{argument}'" for argument in used["args"])
    done = bash(f"{hook['entry']} {arguments}", project, environment)
    assert done.returncode == (0 if kept else 1), done.stderr


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("budget.toml", True),
        ("release/budget.phones.toml", True),
        ("build/digits/manifest.json", True),
        ("build/digits/report.html", False),
        ("pyproject.toml", False),
    ],
)
def test_the_hook_runs_for_what_changes_the_verdict(path, meant):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert bool(re.search(hook["files"], path)) == meant
