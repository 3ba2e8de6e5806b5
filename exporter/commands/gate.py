"""The release gate and what people look at: check, compare, report, history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.commands.options import AsJson, Directory, exit_on

if TYPE_CHECKING:
    from exporter.gate import Verdict

Baseline = Annotated[
    Path | None,
    typer.Option(help="the last release: a build directory, or the JSON that was kept of it"),
]


def check(
    directory: Directory,
    budget: Annotated[Path, typer.Option(help="a budget.toml")],
    baseline: Baseline = None,
    save_baseline: Annotated[
        Path | None,
        typer.Option(help="where the verdict is yes, keep this build as the next baseline here"),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML to this file")] = None,
    sarif: Annotated[Path | None, typer.Option(help="write SARIF 2.1.0 to this file")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write Markdown to this file")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="GitHub annotations, and the step's summary")
    ] = False,
    json: AsJson = False,
) -> None:
    """Hold a build against a budget: the release gate."""
    from exporter.gate import check as check_build
    from exporter.gate import load_baseline, load_budget
    from exporter.gate.table import render
    from exporter.terminal import console

    before = None if baseline is None else load_baseline(baseline)
    verdict = check_build(directory, load_budget(budget), baseline=before)
    print(verdict.to_json()) if json else console().print(render(verdict))
    _write(verdict, junit, sarif, markdown)
    if github:
        _tell_github(verdict, on_stderr=json)
    if save_baseline is not None and verdict.passed:
        from exporter.gate.baseline import save_baseline as save
        from exporter.gate.evidence import Evidence

        save(Evidence(directory), save_baseline)
    exit_on(verdict.passed)


def _write(verdict: Verdict, junit: Path | None, sarif: Path | None, markdown: Path | None) -> None:
    # Each is imported where it is asked for alone: together they take a tenth of a check's time.
    if junit is not None:
        from exporter.gate.junit import write_junit

        write_junit(verdict, junit)
    if sarif is not None:
        from exporter.gate.sarif import write_sarif

        write_sarif(verdict, sarif)
    if markdown is not None:
        from exporter.gate.markdown import write_markdown

        write_markdown(verdict, markdown)


def _tell_github(verdict: Verdict, *, on_stderr: bool) -> None:
    from exporter.gate.github import add_summary, workflow_commands

    for command in workflow_commands(verdict):
        # With --json nothing but the document may stand on stdout; the runner reads both.
        typer.echo(command, err=on_stderr)
    add_summary(verdict)


def compare(
    new: Annotated[Path, typer.Argument(help="the build to judge")],
    old: Annotated[Path, typer.Argument(help="the build to compare with")],
    device: Annotated[str, typer.Option(help="where")] = "local",
    rounds: Annotated[int, typer.Option(min=1, help="how often each file is measured")] = 30,
    seconds: Annotated[float, typer.Option(min=0.01, help="one measurement's window")] = 0.5,
    threads: Annotated[int, typer.Option(min=1, help="of the interpreter")] = 1,
    tolerance: Annotated[str, typer.Option(help="how much slower is allowed")] = "2 %",
    add: Annotated[bool, typer.Option("--add", help="add to the rounds that are there")] = False,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="how often this noise calls a file worse than itself"),
    ] = False,
    json: AsJson = False,
) -> None:
    """Measure two builds in turns on a device, and say whether the new one is slower."""
    from exporter.comparison import compare_builds
    from exporter.gate.turns_table import answers, render, render_self_test, to_json
    from exporter.progress import Bars, Silent
    from exporter.terminal import console

    allowed = _share(tolerance)
    reporter = Silent() if json else Bars(console())
    rows = compare_builds(
        new,
        old,
        device,
        rounds=rounds,
        seconds=seconds,
        threads=threads,
        add=add,
        reporter=reporter,
    )
    print(to_json(rows, allowed)) if json else console().print(render(rows, allowed))
    if self_test and not json:
        console().print(render_self_test(rows, allowed))
    exit_on("worse" not in answers(rows, allowed))


def _share(written: str) -> float:
    from exporter.gate.units import CHANGE

    try:
        return CHANGE.parse(written)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tolerance") from None


def report(
    directory: Directory,
    other: Annotated[Path | None, typer.Argument(help="a build to compare it with")] = None,
    budget: Annotated[Path | None, typer.Option(help="a budget.toml to hold it against")] = None,
    baseline: Baseline = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="DIR/report.html; DIR/compared.html")
    ] = None,
) -> None:
    """Draw the self-contained HTML page of a build, or of one build beside another."""
    from exporter.report.command import draw_build, draw_comparison

    if other is None:
        print(draw_build(directory, budget=budget, baseline=baseline, output=output))
    else:
        print(draw_comparison(directory, other, output=output))


def history(
    file: Annotated[
        Path, typer.Argument(help="the directory of the build directories, or the file in it")
    ] = Path("build"),
    name: Annotated[str, typer.Option(help="only builds of this name")] = "",
    last: Annotated[int, typer.Option(min=1, help="how many builds of each name")] = 50,
    html: Annotated[Path | None, typer.Option(help="draw a page of them in this file")] = None,
    json: AsJson = False,
) -> None:
    """Show size, accuracy and latency over the builds that were made here."""
    from exporter.history import open_history, render, to_json
    from exporter.terminal import console

    opened = open_history(file)
    releases = opened.releases(name=name, last=last)
    if json:
        print(to_json(releases))
    elif releases:
        console().print(render(releases))
    else:
        print(f"{opened.path} holds no builds{f' of the name {name}' if name else ''}")
    if html is not None:
        from exporter.report.page import environment

        environment()  # names the extra where it is not installed
        from exporter.report.history import write_history

        print(write_history(releases, html))
