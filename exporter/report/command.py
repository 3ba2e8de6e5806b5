"""What `edgewright report` does: gathers what a build knows about itself, and draws it."""

from __future__ import annotations

import os
from pathlib import Path

from exporter.build import Artifact
from exporter.contents import FOLDER, LayerRow, has_contents
from exporter.gate import Verdict, check, load_baseline, load_budget
from exporter.gate.evidence import Evidence
from exporter.report.page import environment, write_report

__all__ = ["draw_build", "draw_comparison", "layers_of"]


def draw_build(
    directory: Path,
    *,
    budget: Path | None = None,
    baseline: Path | None = None,
    output: Path | None = None,
) -> Path:
    """Draw the page of a build; gives its path.

    Lists the files' contents where that was not done, or of other files, so that a budget can hold
    them.

    Args:
        directory: a build directory.
        budget: a budget.toml to hold it against; the recipe's by default, if it is still there.
        baseline: the release before, for the budget's limits on growth.
        output: where; `report.html` in the directory by default.

    Raises:
        EdgewrightError: the build, the budget or the baseline cannot be read.
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    environment()  # better told before anything is read
    if not _is_listed(Evidence(directory)):
        from exporter.layers import write_contents

        write_contents(directory)
    verdict: Verdict | None = None
    budget = budget if budget is not None else _recipe_budget(directory)
    if budget is not None:
        before = None if baseline is None else load_baseline(baseline)
        verdict = check(directory, load_budget(budget), baseline=before)
    layers = layers_of(Evidence(directory))
    return write_report(directory, verdict=verdict, layers=layers, output=output)


def _is_listed(evidence: Evidence) -> bool:
    """Whether contents.json is there, and of these very files."""
    return all(
        evidence.file_contents(artifact) is not None
        for artifact in evidence.manifest.artifacts
        if has_contents(artifact)
    )


def _recipe_budget(directory: Path) -> Path | None:
    """The budget that the build's recipe named."""
    from exporter.report.views import recipe

    written = dict(recipe(Evidence(directory))).get("budget")
    if written is None:
        return None
    kept = directory / FOLDER
    budget = Path(os.fsdecode(kept.read_bytes()) if kept.is_file() else "", written)
    return budget if budget.is_file() else None


def draw_comparison(directory: Path, other: Path, *, output: Path | None = None) -> Path:
    """Draw the page of a build beside another one; gives its path.

    Args:
        directory: the build that is judged.
        other: the build that it is compared with.
        output: where; `compared.html` in `directory` by default.

    Raises:
        EdgewrightError: a build cannot be read.
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    environment()
    from exporter.report.comparison import write_comparison

    new, old = Evidence(directory), Evidence(other)
    return write_comparison(new, old, (layers_of(new), layers_of(old)), output=output)


def layers_of(evidence: Evidence) -> list[LayerRow]:
    """The layers of the int8 .tflite as it lies there, with their histograms; none without it."""
    from exporter.layers import layer_rows

    shown: Artifact | None = evidence.manifest.artifact("tflite", "int8")
    return [] if shown is None else layer_rows(evidence.directory / shown.path)
