"""The stages of a build in order: resumable, one progress bar each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.build import ACCURACY, BENCH, CERTIFICATE, GOLDEN, MANIFEST, REPORT
from exporter.gate import Verdict, check, load_budget
from exporter.journal import Journal, key_of
from exporter.progress import Reporter, Silent
from exporter.recipe import Recipe, load_recipe
from exporter.stages import judge, quantize, ship, train
from exporter.stages.context import Context, Figures


@dataclass(frozen=True)
class Stage:
    """One stage: its name, the recipe's sections that it depends on, what it does and writes."""

    name: str
    sections: tuple[str, ...]
    run: Callable[[Context], Figures]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Built:
    """What a run leaves: the directory, and the budget's verdict if the recipe names a budget."""

    directory: Path
    verdict: Verdict | None


def run_recipe(
    path: Path,
    directory: Path | None = None,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Built:
    """Build everything that a recipe asks for.

    Args:
        path: the recipe.
        directory: the build directory; build/NAME by default.
        resume: take stages that are finished from the run before.
        reporter: told of the progress.

    Raises:
        EdgewrightError: with what was expected, found and to do.
    """
    recipe = load_recipe(path)
    target = directory if directory is not None else Path("build") / recipe.name
    return build(recipe, path.resolve().parent, target, resume=resume, reporter=reporter)


def build(
    recipe: Recipe,
    folder: Path,
    directory: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Built:
    """Build what a recipe says; `folder` is where its modules are."""
    budget = None if recipe.budget is None else load_budget(recipe.budget)
    directory.mkdir(parents=True, exist_ok=True)
    context = Context(recipe, folder, directory, reporter if reporter is not None else Silent())
    figures = _run_stages(context, Journal(directory, resume=resume))
    if recipe.data.test is not None:
        _accuracy(context, figures, Journal(directory, resume=True), resume=resume)
    verdict = None if budget is None else check(directory, budget)
    _report(context, verdict)
    return Built(directory, verdict)


def stages_of(context: Context) -> list[Stage]:
    """The stages that a recipe asks for, in order."""
    recipe, path = context.recipe, context.path
    int8_files = tuple(path(suffix) for suffix in ship.PACKED)
    packages = tuple(path(f"{suffix}.ewp") for suffix in ship.PACKED)
    stages = [
        Stage("train", ("train",), train.train, (context.state_path("fp32"),)),
        Stage("prune", ("prune",), train.prune, (context.state_path("pruned"),)),
        Stage("share", ("share",), train.share, (context.state_path("shared"),)),
        Stage(
            "quantize",
            ("quantize", "output"),
            quantize.quantize,
            (path("qdq.onnx"), path("trained.safetensors")),
        ),
        Stage("fp32 files", (), ship.float_files, (path("fp32.onnx"), path("fp32.tflite"))),
        Stage("int8 files", (), ship.integer_files, int8_files),
        Stage("golden", ("verify",), ship.golden, (context.directory / GOLDEN,)),
        Stage("packages", (), ship.packages, packages),
        Stage("manifest", (), ship.manifest, (context.directory / MANIFEST,)),
        Stage("verify", (), judge.verify, (context.directory / CERTIFICATE,)),
        Stage("bench", ("bench",), judge.bench, (context.directory / BENCH,)),
    ]
    absent = {name for name in ("prune", "share", "bench") if getattr(recipe, name) is None}
    return [stage for stage in stages if stage.name not in absent]


def _run_stages(context: Context, journal: Journal) -> dict[str, Figures]:
    """Run each stage that is not finished; a stage's key takes in all stages before it."""
    key = _first_key(context)
    figures: dict[str, Figures] = {}
    for stage in stages_of(context):
        recipe = context.recipe.model_dump(mode="json")
        key = key_of(key, stage.name, [recipe[section] for section in stage.sections])
        entry = journal.finished(stage.name, key)
        if entry is not None:
            context.reporter.skipped(stage.name)
        else:
            entry = journal.record(stage.name, key, stage.files, stage.run(context))
        figures[stage.name] = entry.figures
        # What was written counts too: ONNX Runtime's .ort files differ from run to run.
        key = key_of(key, entry.files)
    return figures


def _first_key(context: Context) -> str:
    recipe = context.recipe
    data = recipe.data
    weights = recipe.model.weights
    return key_of(
        recipe.model_dump(mode="json", include={"name", "seed", "model", "input", "data"}),
        context.sources(recipe.model.factory, data.train, data.test, data.calibration),
        None if weights is None or not weights.is_file() else weights.stat().st_mtime_ns,
    )


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


def _report(context: Context, verdict: Verdict | None) -> None:
    from exporter.layers import layer_rows
    from exporter.report import write_report

    with context.reporter.stage("report", 1) as advance:
        layers = layer_rows(context.path("int8.tflite"))
        write_report(context.directory, verdict=verdict, layers=layers)
        advance(1, REPORT)
