"""Ctrl-C at every stage: no half file, and what was finished is not done again."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager

import pytest
from tiny import write_recipe

from exporter.gate import check, load_budget
from exporter.pipeline import run_recipe
from exporter.progress import Silent

pytestmark = [
    pytest.mark.slow,
    # ONNX Runtime's .ort converter leaves a file open.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
VARIES = (".ort", ".ort.ewp", ".json", ".html", ".csv", ".best.safetensors")
"""Files that are not the same bytes in every build: dates, times, ONNX Runtime's own format; and
those that grow or are replaced while a stage trains."""


class Interrupting(Silent):
    """Stops a build at the first unit of work of a stage that was not interrupted before."""

    def __init__(self):
        self.interrupted = []
        self.skipped_stages = []

    @contextmanager
    def stage(self, title, total):
        def advance(done, note):
            if title not in self.interrupted:
                self.interrupted.append(title)
                raise KeyboardInterrupt

        yield advance

    def skipped(self, title):
        self.skipped_stages.append(title)


def snapshot(directory):
    return {
        path.relative_to(directory): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(VARIES)
    }


def test_a_build_that_is_stopped_at_every_stage_ends_as_one_that_is_not(tmp_path):
    write_recipe(tmp_path)
    directory = tmp_path / "build"
    reporter = Interrupting()
    seen = []
    for _ in range(40):
        reporter.skipped_stages.clear()
        try:
            run_recipe(tmp_path / "recipe.toml", directory, resume=True, reporter=reporter)
            break
        except KeyboardInterrupt:
            seen.append(snapshot(directory))
            assert not list(directory.rglob("*.part")), reporter.interrupted[-1]
    else:
        pytest.fail(f"never finished; interrupted at {reporter.interrupted}")
    assert len(reporter.interrupted) >= 10
    assert {"train", "prune", "share", "quantize"} <= set(reporter.skipped_stages)
    final = snapshot(directory)
    assert any(path.name == "tiny.int8.tflite" for path in final)
    for files in seen:
        assert {path: final[path] for path in files if path in final} == {
            path: digest for path, digest in files.items() if path in final
        }


class StoppedAt(Silent):
    """Stops a build at the first unit of work of one stage."""

    def __init__(self, title):
        self.title = title

    @contextmanager
    def stage(self, title, total):
        def advance(done, note):
            if title == self.title:
                raise KeyboardInterrupt

        yield advance


def test_what_was_proven_of_earlier_files_is_not_believed_of_these(tiny_build, tmp_path):
    """Other golden inputs, the same network: a run that stops where the certificate is made."""
    folder = shutil.copytree(tiny_build[0], tmp_path / "copy")
    build, recipe = folder / "build" / "tiny", folder / "recipe.toml"
    assert (build / "certificate.json").is_file()
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("samples = 64", "samples = 63"), encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, build, resume=True, reporter=StoppedAt("verify"))
    budget = folder / "strict.toml"
    budget.write_text('[limits."*.tflite"]\ncertificate = "clean"\naccuracy = "0 %"\n')
    lines = {line.limit: line for line in check(build, load_budget(budget)).failures}
    assert lines["certificate"].reason == "nothing was proven: there is no certificate.json"
    assert lines["accuracy"].reason.startswith("accuracy was not measured")
