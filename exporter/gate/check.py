"""The check itself: every limit of a budget against every artifact that it is for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from exporter.build import Artifact
from exporter.gate import growth, slowdown
from exporter.gate.baseline import Baseline
from exporter.gate.budget import Budget, Section
from exporter.gate.evidence import Evidence, file_name
from exporter.gate.measures import MEASURES, file_matches, package_matches
from exporter.gate.verdict import Line, Verdict

__all__ = ["check"]


def check(directory: Path, budget: Budget, *, baseline: Baseline | None = None) -> Verdict:
    """Hold a build against a budget.

    Args:
        directory: a build directory; only what it holds is read, nothing is run.
        budget: the limits, from `load_budget`.
        baseline: the release before, from `load_baseline`, for limits on growth and slowdown.

    Returns:
        One line for each limit and matching artifact, plus one for each matching file and package
        that says whether it is still the one that was built.

    Raises:
        BuildError: manifest.json is missing, or a JSON file of the build is damaged.
    """
    evidence = Evidence(directory)
    lines: list[Line] = []
    seen: set[str] = set()
    for section in budget.sections:
        matching = [a for a in evidence.manifest.artifacts if _matches(a, section.pattern)]
        if not matching:
            lines.append(_no_artifact(evidence, section))
        for artifact in matching:
            if artifact.path not in seen:
                seen.add(artifact.path)
                lines += _at(
                    section.line(""),
                    (file_matches(evidence, artifact), *package_matches(evidence, artifact)),
                )
            lines += _section_lines(evidence, artifact, section, baseline)
    return Verdict(
        name=evidence.manifest.name,
        lines=tuple(lines),
        budget=budget.path,
        baseline="" if baseline is None else f"{baseline.name} of {baseline.created}",
        changes=() if baseline is None else growth.changes(evidence, baseline),
    )


def _matches(artifact: Artifact, pattern: str) -> bool:
    # fnmatchcase, not fnmatch: a budget must mean the same on every operating system.
    return fnmatchcase(file_name(artifact), pattern)


def _section_lines(
    evidence: Evidence, artifact: Artifact, section: Section, baseline: Baseline | None
) -> list[Line]:
    limits = section.limits
    lines = [
        line
        for name, measure in MEASURES.items()
        if name in limits.model_fields_set
        for line in measure(evidence, artifact, getattr(limits, name))
    ]
    lines += growth.growth(evidence, artifact, baseline, limits.max_growth)
    lines += slowdown.slowdown(evidence, artifact, baseline, limits.max_slowdown)
    return [line.model_copy(update={"budget_line": section.line(line.limit)}) for line in lines]


def _at(budget_line: int | None, lines: tuple[Line, ...]) -> list[Line]:
    return [line.model_copy(update={"budget_line": budget_line}) for line in lines]


def _no_artifact(evidence: Evidence, section: Section) -> Line:
    names = ", ".join(file_name(a) for a in evidence.manifest.artifacts) or "nothing"
    return Line(
        artifact=section.pattern,
        limit="artifact exists",
        limit_value="at least one",
        measured="none",
        passed=False,
        budget_line=section.line(""),
        reason=f"no artifact matches {section.pattern!r}; the build holds {names}",
        remedy="mend the glob in the budget, or have the recipe build that file",
    )
