"""The stages of a build in order: resumable, one progress bar each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.build import (
    ACCURACY,
    BENCH,
    CERTIFICATE,
    GOLDEN,
    MANIFEST,
    REPORT,
    Certificate,
    load_json,
    save_json,
    sha256_of,
    write_bytes,
)
from exporter.contents import FOLDER, RECIPE
from exporter.errors import RecipeError
from exporter.fit_recipe import TELLING
from exporter.gate import Budget, Verdict, check, load_budget
from exporter.history import HISTORY, History
from exporter.journal import Entry, Journal, key_of
from exporter.progress import Reporter, Silent
from exporter.recipe import Recipe, as_written, load_recipe
from exporter.stages import judge, quantize, ship, train
from exporter.stages.channels import widths_path
from exporter.stages.context import Context, Figures
from exporter.stages.fitting import TRAINING_LOG, checkpoint_path
from exporter.stages.network import check_network
from exporter.stages.plans import check_layers
from exporter.train.settings import computes_bf16
from exporter.train.team import Team


@dataclass(frozen=True)
class Stage:
    """One stage: its name, the recipe's sections that it depends on, what it does and writes.

    `trains` says that all processes of a team take part; `reads` are the user's files whose content
    it depends on.
    """

    name: str
    sections: tuple[str, ...]
    run: Callable[[Context], Figures]
    files: tuple[Path, ...]
    trains: bool = False
    reads: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Built:
    """What a run leaves.

    Attributes:
        directory: the build directory.
        certificate: what was proven of its files.
        verdict: the budget's, if the recipe names a budget.
    """

    directory: Path
    certificate: Certificate
    verdict: Verdict | None

    @property
    def passed(self) -> bool:
        """The budget's answer, which may allow files to differ; without one, the certificate's."""
        return self.certificate.holds if self.verdict is None else self.verdict.passed


def run_recipe(
    path: Path,
    directory: Path | None = None,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    until: str | None = None,
) -> Built | None:
    """Build everything that a recipe asks for.

    Args:
        path: the recipe.
        directory: the build directory; build/NAME by default.
        resume: take stages that are finished from the run before, and go on inside the one that
            was interrupted.
        reporter: told of the progress.
        until: the last stage that is run, such as "prune"; all of them by default.

    Returns:
        What was built; None in a process that a launcher started to help with the training, and of
        a run that ends behind a stage.

    Raises:
        EdgewrightError: with what was expected, found and to do.
    """
    recipe = load_recipe(path)
    target = directory if directory is not None else Path("build") / recipe.name
    folder = path.resolve().parent
    return build(recipe, folder, target, resume=resume, reporter=reporter, until=until)


def build(
    recipe: Recipe,
    folder: Path,
    directory: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    until: str | None = None,
) -> Built | None:
    """Build what a recipe says; `folder` is where its modules are. See `run_recipe`."""
    budget = None if recipe.budget is None else load_budget(recipe.budget)
    directory.mkdir(parents=True, exist_ok=True)
    team = Team.launched()
    shown = reporter if reporter is not None and team.main else Silent()
    context = Context(recipe, folder, directory, shown, team, resume)
    if team.main and not resume:
        (directory / TRAINING_LOG).unlink(missing_ok=True)
    _check_last_stage(context, until)
    _warn_of_slow_training(context)
    check_network(context)
    check_layers(context)
    figures = _run_stages(context, Journal(directory, resume=resume), until)
    if not team.main or until is not None:
        return None
    if recipe.data.test is not None:
        _accuracy(context, figures, Journal(directory, resume=True), resume=resume)
    verdict = _judge(context, budget)
    _report(context, verdict)
    _remember(directory, verdict)
    return Built(directory, load_json(directory / CERTIFICATE, Certificate), verdict)


def _check_last_stage(context: Context, until: str | None) -> None:
    names = [stage.name for stage in stages_of(context)]
    if until is not None and until not in names:
        raise RecipeError(
            "the run cannot end behind a stage that it does not have",
            expected=", ".join(names),
            found=until,
            remedy="name one of them",
        )


def _warn_of_slow_training(context: Context) -> None:
    trains = any(stage.trains for stage in stages_of(context)) or context.recipe.quantize.epochs
    if trains and context.recipe.loop.precision == "bf16" and not computes_bf16():
        context.reporter.warn(
            'precision = "bf16": this CPU has no instructions for it and takes many times as long '
            'as with "fp32"'
        )


def stages_of(context: Context) -> list[Stage]:
    """The stages that a recipe asks for, in order."""
    recipe, path = context.recipe, context.path
    int8_files = ship.integer_paths(context)
    packages = tuple(path(f"{suffix}.ewp") for suffix in ship.PACKED)
    choices = (path("ptq.json"),) if recipe.quantize.ptq == "best" else ()
    quantized = (path("qdq.onnx"), path("trained.safetensors"), *choices)
    real = (path("fp32.onnx"), path("fp32.tflite"))
    labels = () if recipe.output.labels is None else (recipe.output.labels,)
    stages = [
        _training("train", train.train, context.state_path("fp32")),
        _training("channels", train.channels, context.state_path("narrowed"), widths_path(context)),
        _training("prune", train.prune, context.state_path("pruned")),
        _training("share", train.share, context.state_path("shared")),
        _training("quantize", quantize.quantize, *quantized, "output"),
        Stage("fp32 files", ("output",), ship.float_files, real, reads=labels),
        Stage("int8 files", ("output",), ship.integer_files, int8_files),
        Stage("golden", ("verify",), ship.golden, (context.directory / GOLDEN,)),
        Stage("packages", (), ship.packages, packages),
        Stage("manifest", (), ship.manifest, (context.directory / MANIFEST,)),
        Stage("verify", (), judge.verify, (context.directory / CERTIFICATE,)),
        Stage("bench", ("bench",), judge.bench, (context.directory / BENCH,)),
    ]
    absent = {
        name for name in ("channels", "prune", "share", "bench") if getattr(recipe, name) is None
    }
    return [stage for stage in stages if stage.name not in absent]


def _training(name: str, run: Callable[[Context], Figures], *written: Path | str) -> Stage:
    """A stage that trains; it depends on its own section, on those of all training, on more."""
    files = tuple(entry for entry in written if isinstance(entry, Path))
    more = tuple(entry for entry in written if isinstance(entry, str))
    return Stage(name, (name, "loop", "distill", *more), run, files, trains=True)


def _run_stages(context: Context, journal: Journal, until: str | None) -> dict[str, Figures]:
    """Run each stage that is not finished; a stage's key takes in all stages before it.

    All processes of a team train; the main one decides what is finished, and does the rest.
    """
    key = context.team.share(lambda: _first_key(context))
    figures: dict[str, Figures] = {}
    # Of the labels the content counts, not where the file lies; see `Stage.reads`.
    unimportant = {"loop": set(TELLING), "output": {"labels"}}
    recipe = context.recipe.model_dump(mode="json", exclude=unimportant)
    stages = stages_of(context)
    for stage in stages:
        if not stage.trains:
            context.team.part()
        if not (stage.trains or context.team.main):
            break
        content = [sha256_of(path) for path in stage.reads if path.is_file()]
        key = key_of(key, stage.name, [recipe[section] for section in stage.sections], content)
        entry = _run_stage(context, journal, stage, key)
        figures[stage.name] = entry.figures
        measured = entry.figures.get("accuracy", context.accuracy)
        context.accuracy = entry.figures.get("validation_accuracy", measured)
        # What was written counts too: ONNX Runtime's .ort files differ from run to run.
        key = key_of(key, entry.files)
        if stage.name == until:
            break
    context.team.part()
    return figures


def _run_stage(context: Context, journal: Journal, stage: Stage, key: str) -> Entry:
    entry = context.team.share(lambda: journal.finished(stage.name, key))
    if entry is not None:
        context.reporter.skipped(stage.name)
        return entry
    context.key = key
    found = stage.run(context)
    entry = context.team.share(lambda: journal.record(stage.name, key, stage.files, found))
    if context.team.main and stage.trains:
        checkpoint_path(context, stage.name).unlink(missing_ok=True)
    return entry


def _first_key(context: Context) -> str:
    recipe = context.recipe
    data = recipe.data
    distill = recipe.distill
    teacher, teaching = (None, None) if distill is None else (distill.factory, distill.weights)
    times = None if recipe.channels is None else recipe.channels.times
    return key_of(
        recipe.model_dump(mode="json", include={"name", "seed", "model", "input", "data"}),
        context.sources(
            recipe.model.factory,
            *(data.train, data.test, data.validation, data.calibration, data.loss, data.score),
            teacher,
        ),
        [_changed(path) for path in (recipe.model.weights, teaching, times)],
    )


def _changed(path: Path | None) -> int | None:
    """When a file was written; None where there is none."""
    return None if path is None or not path.is_file() else path.stat().st_mtime_ns


def _accuracy(
    context: Context, figures: dict[str, Figures], journal: Journal, *, resume: bool
) -> None:
    path = context.directory / ACCURACY
    key = key_of("accuracy", (context.directory / MANIFEST).read_text(encoding="utf-8"))
    if resume and journal.finished("accuracy", key) is not None:
        context.reporter.skipped("accuracy")
        return
    judge.accuracy(context, figures)
    journal.record("accuracy", key, [path], {})


def _judge(context: Context, budget: Budget | None) -> Verdict | None:
    """List what the files hold, for budgets that limit that; then the budget's answer."""
    from exporter.layers import write_contents

    save_json(context.directory / RECIPE, as_written(context.recipe, context.folder))
    write_bytes(context.directory / FOLDER, os.fsencode(context.folder))
    write_contents(context.directory)
    return None if budget is None else check(context.directory, budget)


def _remember(directory: Path, verdict: Verdict | None) -> None:
    """Add the build to the history that lies beside the build directories."""
    history = History(directory.resolve().parent / HISTORY)
    history.append(directory, passed=None if verdict is None else verdict.passed)


def _report(context: Context, verdict: Verdict | None) -> None:
    from exporter.layers import layer_rows
    from exporter.report import write_report

    with context.reporter.stage("report", 1) as advance:
        layers = layer_rows(context.path("int8.tflite"))
        write_report(context.directory, verdict=verdict, layers=layers)
        advance(1, REPORT)
