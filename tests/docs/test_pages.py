"""Every command, file and piece of code in the documents works, in the order of its page.

The digits' recipe is shortened and its build made once; of make only `make -n` is run, and pip's
lines are only looked at; everything else runs as it is written.
Pages that need a device are run by the tests of devices, which have stand-ins for one.
"""

from __future__ import annotations

import ast
import fcntl
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from pages import blocks, missing_line, shape, steps
from runner import ROOT, PageError, Runner, packages_of, parts_of
from shorter import shortened

from exporter.gate.verdict import NOTHING

ELSEWHERE = {"devices.md": "tests/devices", "journeys.md": "tests/devices"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = ROOT / "examples"
OURS = {"exporter", "devices", "runtimes"}


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A clone as a reader has it behind `make demo`: the examples, and build/digits."""
    folder = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist share one build: the first makes it, the others wait.
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "documents"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            _make_base(shared / "clone")
            (shared / "done").touch()
    return shared / "clone"


def _make_base(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    skipped = shutil.ignore_patterns("__pycache__", "build")
    shutil.copytree(EXAMPLES, folder / "examples", ignore=skipped)
    shutil.rmtree(folder / "examples" / "digits")
    shortened(EXAMPLES / "digits" / "recipe.toml", folder / "examples")
    argv = [sys.executable, "-m", "exporter.cli", "run", "examples/digits/recipe.toml"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    # 1 is the budget's verdict on a network that hardly trained.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    _as_if_trained(folder / "build" / "digits")


def _as_if_trained(build: Path) -> None:
    """Give a build the figures of a network that trained, on a quiet machine.

    So a page may show a verdict of yes, whatever else runs beside the tests.
    """
    accuracy = json.loads((build / "accuracy.json").read_text())
    for row in accuracy["rows"]:
        row |= {"accuracy": 0.98, "correct": 980, "drop_pt": 0.1, "agreement": 0.99}
    (build / "accuracy.json").write_text(json.dumps(accuracy))
    bench = json.loads((build / "bench.json").read_text())
    for row in bench["rows"]:
        row |= {"valid": True, "notes": [], "p50_ms": 0.1, "p90_ms": 0.2, "p99_ms": 0.3}
    (build / "bench.json").write_text(json.dumps(bench))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a page is many commands, and the first one waits for the build
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda path: path.name
)
def test_what_a_page_shows_works(page, base, tmp_path):
    folder = tmp_path / "clone"
    shutil.copytree(base, folder)

    Runner(folder).page(page)


def test_a_page_that_needs_a_device_is_run_by_a_test_of_devices():
    for page in (page for page in PAGES if page.name in ELSEWHERE):
        tests = (ROOT / ELSEWHERE[page.name]).glob("test_*.py")
        assert any(page.name in test.read_text(encoding="utf-8") for test in tests), page.name


def installs(page):
    """What the page installs, one entry for each command."""
    consoles = (block for block in blocks(page) if block.language == "console")
    argvs = (step.argv for console in consoles for step in steps(console))
    return [argv[-1] for argv in argvs if argv[:2] == ("pip", "install")]


def imports(page):
    """The top-level modules that the page's code imports from elsewhere."""
    code = [ast.parse(block.text) for block in blocks(page) if block.language == "python"]
    own = {Path(block.name).stem for block in blocks(page) if block.name is not None}
    nodes = [node for tree in code for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} - own - set(sys.stdlib_module_names) - OURS


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_what_a_page_imports_is_what_it_installs(page):
    installed = [packages_of(parts_of(word)[1]) for word in installs(ROOT / page)]
    named = {name.lower() for names in installed for name in names}
    owners = packages_distributions()
    missing = {
        name
        for name in imports(ROOT / page)
        if not named & {owner.lower() for owner in owners[name]}
    }
    assert installed
    assert not missing


def write(folder, text):
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_files_commands_and_code_run_in_order(tmp_path):
    page = write(
        tmp_path,
        "```python\n# a/one.py\nprint('one', 41 + 1)\n```\n"
        "```console\n$ python a/one.py\none 3\n$ cd a\n$ python \\\n  one.py\n```\n"
        "```python\nassert open('one.py').read()\n```\n",
    )

    runner = Runner(tmp_path)
    runner.page(page)

    assert runner.ran == [("python", "a/one.py"), ("cd", "a"), ("python", "one.py")]


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("```console\n$ python -c 'raise SystemExit(3)'\n```\n", "exit code 3"),
        ("```console\n$ python -c 'print(1)'\ntwo\n```\n", "does not print: 'two'"),
        ("```console\n$ python -c 'exit(2)'\n$ echo $?\n1\n```\n", "found 2"),
        ("```console\n$ rm -r x\n```\n", "no test can run"),
        ("```console\n$ make nothing-of-that-name\n```\n", "exit code 2"),
        ("```console\n$ pip install .\n```\n", "expected -c constraints.txt first"),
        ("```console\n$ pip install -c constraints.txt edgewright\n```\n", "expected `.`"),
        ("```console\n$ pip install -c constraints.txt '.[nothing]'\n```\n", "extras"),
        ("```python\nassert False\n```\n", "AssertionError"),
        ("```console\n$ edgewright no-such-command\n```\n", "No such command"),
    ],
)
def test_what_does_not_hold_is_found(block, problem, tmp_path):
    with pytest.raises(PageError, match=rf"page\.md:2: (.|\n)*{problem}"):
        Runner(tmp_path).page(write(tmp_path, f"text\n{block}"))


def test_an_exit_code_that_the_page_shows_may_be_any(tmp_path):
    block = "```console\n$ python -c 'print(5); raise SystemExit(1)'\n7\n$ echo $?\n1\n```\n"

    Runner(tmp_path).page(write(tmp_path, block))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a b", "Expected '='"),
        ("[prune]\nsparsty = 0.8\nepochs = 1\nlr = 0.1", "did you mean 'sparsity'"),
        ("[quantise]\nepochs = 1", "did you mean 'quantize'"),
        ('[limits."*.tflite"]\nfile_byte = 1', "did you mean file_bytes"),
        ('[pi]\naddress = "local"\npins = "0"', "did you mean 'pin'"),
    ],
)
def test_a_toml_block_must_be_read_by_what_it_is_for(text, problem, tmp_path):
    with pytest.raises(PageError, match=rf"page\.md:1: is not read: (.|\n)*{problem}"):
        Runner(tmp_path).page(write(tmp_path, f"```toml\n{text}\n```\n"))


def test_a_part_of_a_recipe_is_read_as_one(tmp_path):
    Runner(tmp_path).page(write(tmp_path, "```toml\n[quantize]\nactivations = 'int16'\n```\n"))


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("p50  59.1 µs   52 MB", "p50 ~1.20 ms 104 MB"),
        ("✓ accuracy ≤ 1.00 pt  0.10 pt", "✗ accuracy  ≤ 1.00 pt  12.30 pt"),
        ("a 374064ce8ee4", "a 00ab64ce8ee4"),
        (f"x  {NOTHING}  y", "x 3.20 kB y"),
        ("────", "──────────"),
    ],
)
def test_what_differs_from_run_to_run_does_not_count(shown, printed):
    assert shape(shown) == shape(printed)


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        (("a", "b"), "a\nx\nb", None),
        (("b", "a"), "a\nb", "a"),
        (("a ... c",), "a b c", None),
        (("...", "c"), "a\nb\nc", None),
        (("a b",), "a b, and more", None),
        (("clean",), "cleaner", "clean"),
        (("verdict: clean",), "verdict: differs", "verdict: clean"),
    ],
)
def test_lines_must_come_in_order(shown, printed, missing):
    assert missing_line(shown, printed) == missing


def test_blocks_know_their_language_name_and_line(tmp_path):
    page = write(tmp_path, "x\n\n```toml\n# b.toml\na = 1\n```\n```\nplain\n```\n")

    assert [(b.language, b.name, b.line) for b in blocks(page)] == [
        ("toml", "b.toml", 3),
        ("", None, 7),
    ]


def test_output_before_any_command_is_refused(tmp_path):
    with pytest.raises(ValueError, match="without a command"):
        steps(blocks(write(tmp_path, "```console\nout\n```\n"))[0])
