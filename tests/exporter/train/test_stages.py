"""What a recipe's training sections do: budgets, the best weights, warnings, teachers."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from dataclasses import replace

import pytest
import stages_only
import torch
from safetensors.torch import load_file
from torch import nn

from exporter import pipeline
from exporter.compress import Levels, Plan, Ramp, compress
from exporter.errors import RecipeError, WeightError
from exporter.progress import Silent
from exporter.recipe import load_recipe
from exporter.stages import quantize, ship, train
from exporter.stages.collapse import Labelled, has_collapsed
from exporter.stages.context import Context
from exporter.stages.fitting import Subject, run_fit
from exporter.stages.growth import Growth
from exporter.train.score import top1


class Telling(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.warnings = []
        self.notes = []

    @contextmanager
    def stage(self, title, total):
        yield lambda done, note: self.notes.append(note)

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture
def make(tmp_path):
    """A context for the recipe of `stages_only`, with lines put into its sections."""

    def build(data="still", **sections: str) -> Context:
        path = stages_only.write(tmp_path, data=data, dropout=0.0)
        text = path.read_text()
        for name, lines in sections.items():
            text = text.replace(f"[{name}]\n", f"[{name}]\n{lines}\n")
        path.write_text(text.replace("checkpoint_steps = 2\n", "") + sections.get("more", ""))
        return Context(load_recipe(path), tmp_path, tmp_path / "build", Telling())

    return build


def rows(context: Context, stage: str) -> list[dict[str, str]]:
    text = (context.directory / "training.csv").read_text()
    return [row for row in csv.DictReader(text.splitlines()) if row["stage"] == stage]


def test_a_model_that_comes_in_evaluation_mode_is_trained_as_any_other(make):
    weights = []
    for factory in ("make", "evaluated"):
        context = make()
        section = context.recipe.model.model_copy(
            update={"factory": f"stages_only_module:{factory}"}
        )
        context = replace(context, recipe=context.recipe.model_copy(update={"model": section}))
        train.train(context)
        weights.append(load_file(context.state_path("fp32")))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert int(weights[1]["1.num_batches_tracked"]) > 0


def test_weights_that_are_no_numbers_are_refused_before_training(make, tmp_path):
    context = make(model='weights = "start.pt"')
    module = make().module()
    with torch.no_grad():
        module[3].weight[0, 0, 0, 0] = float("nan")
    torch.save(module.state_dict(), tmp_path / "start.pt")
    with pytest.raises(WeightError, match=r"'3\.weight' holds NaN"):
        train.train(context)


def test_sparsity_stops_growing_where_the_package_is_small_enough(make):
    free = make()
    train.train(free)
    before = train.prune(free)
    small = int(rows(free, "prune")[-1]["coded_bytes"])
    until = small + 120
    held = make(prune=f'until = "{until} B"')
    figures = train.prune(held)
    assert 0.05 < figures["sparsity"] < before["sparsity"] - 0.05
    pruned = load_file(held.state_path("pruned"))
    model, compressor = held.module(), None
    compressor = compress(model, Plan())
    Subject("", model, compressor).take(pruned)
    assert compressor.coded_size(held.recipe.share.step).total <= until
    assert not held.reporter.warnings
    # Training goes on to the end of its epochs.
    assert rows(held, "prune")[-1]["step"] == rows(free, "prune")[-1]["step"]


def test_a_size_that_is_not_reached_is_told(make):
    context = make(prune='until = "1 kB"')
    train.train(context)
    train.prune(context)
    assert "more than until = 1.00 kB; allow more sparsity" in context.reporter.warnings[0]


def test_behind_the_growth_a_size_is_looked_at_too(make):
    context = make(prune='until = "1 kB"')
    train.train(context)
    train.prune(context)
    train.share(context)
    pruned, shared = context.reporter.warnings
    assert pruned.startswith("prune: about ")
    assert shared.startswith("share: about ")
    assert "more than until = 1.00 kB" in shared


@pytest.mark.parametrize(("until", "warned"), [(1000, False), (999, True)])
def test_the_real_package_is_held_against_the_size(make, monkeypatch, until, warned):
    context = make(prune=f'until = "{until} B"')
    context.directory.mkdir()
    monkeypatch.setattr(ship, "pack", lambda source, target: target.write_bytes(bytes(1000)))
    ship.packages(context)
    found = ["tiny.int8.tflite.ewp: 1.00 kB, more than" in one for one in context.reporter.warnings]
    assert found == [True] * warned


@pytest.mark.parametrize("codes", [4, 64])
def test_a_size_is_that_of_the_levels_to_come(make, codes):
    context = make(prune='until = "1 kB"', share=f'levels = "kmeans"\ncodes = {codes}')
    growing, compressor = growth(context)
    compressor.prune(0.8)
    coming = growing.coded_bytes()
    uniform = compressor.coded_size(0.35).total
    compressor.share(Levels("kmeans", codes=codes))
    assert coming == pytest.approx(compressor.coded_bytes(), rel=0.005)
    assert uniform != pytest.approx(compressor.coded_bytes(), rel=0.01)


def growth(context: Context):
    compressor = compress(context.module(), Plan((Ramp(0.8, 20),), every=1))
    return Growth(context, context.recipe.prune, compressor), compressor


def test_sparsity_stops_growing_where_accuracy_gives_way(make):
    context = make(prune='accuracy_floor = "90 %"')
    growing, compressor = growth(context)
    for step in range(1, 31):
        growing.after_step(step, 30)
        if step == 5:
            assert not growing.judge(0.91, None)
        if step == 10:
            assert not growing.judge(0.89, None)
            reached = compressor.sparsity()
    assert 0.5 < reached == compressor.sparsity() < 0.79
    assert growing.whole(10, 30)
    (warning,) = context.reporter.warnings
    assert "accuracy 89.00% is below the floor of 90.00%" in warning


def test_where_the_growth_ended_is_restored(make):
    context = make(prune='accuracy_floor = "90 %"')
    growing, compressor = growth(context)
    for step in range(1, 11):
        growing.after_step(step, 30)
    growing.judge(0.1, None)
    again, other = growth(context)
    again.load_state_dict(growing.state_dict())
    other.load_state_dict(compressor.state_dict())
    for step in range(11, 31):
        growing.after_step(step, 30)
        again.after_step(step, 30)
    assert other.sparsity() == pytest.approx(compressor.sparsity(), abs=0.001)
    assert again.whole(11, 30)


def fitted(context: Context, accuracies: list[float], monkeypatch, **more) -> nn.Module:
    """A stage whose accuracies are given; its weight is the number of the epoch."""
    left = iter(accuracies)
    monkeypatch.setattr("exporter.stages.watch.evaluate", lambda *_: next(left))
    module = context.module()

    def after_step(step: int, steps: int) -> None:
        with torch.no_grad():
            module[9].bias.fill_((step - 1) // (steps // len(accuracies)))

    subject = Subject("train", module, after_step=after_step, **more)
    section = context.recipe.train.model_copy(update={"epochs": len(accuracies)})
    run_fit(context, subject, section, "train")
    return module


@pytest.mark.parametrize(("keep", "epoch"), [("last", 3), ("best", 1)])
def test_the_last_weights_are_kept_or_the_best(make, monkeypatch, keep, epoch):
    context = make(train=f'keep = "{keep}"')
    module = fitted(context, [0.5, 0.8, 0.8, 0.7], monkeypatch)
    assert float(module[9].bias.detach()[0]) == epoch
    best = load_file(context.directory / "stages" / "train.best.safetensors")
    assert float(best["9.bias"][0]) == 1


def test_weights_at_which_sparsity_still_grows_are_not_the_best(make, monkeypatch):
    context = make(train='keep = "best"')
    whole = {"whole": lambda step, steps: step > steps / 2}
    module = fitted(context, [0.9, 0.9, 0.6, 0.5], monkeypatch, **whole)
    assert float(module[9].bias.detach()[0]) == 2


def test_a_collapse_is_told_once(make, monkeypatch):
    context = make()
    fitted(context, [0.9, 0.3, 0.2], monkeypatch)
    (warning,) = context.reporter.warnings
    assert "accuracy fell from 90.0% to 30.0%" in warning
    assert "train.best.safetensors" in warning


def grown(context: Context, accuracies: list[float], monkeypatch) -> nn.Module:
    """A stage in which sparsity grows by 0.2 an epoch, to its end."""
    left = iter(accuracies)
    monkeypatch.setattr("exporter.stages.watch.evaluate", lambda *_: next(left))
    module = context.module()
    compressor = compress(module, Plan())

    def after_step(step: int, steps: int) -> None:
        compressor.prune(0.2 * -(-step * len(accuracies) // steps))

    subject = Subject(
        "prune", module, compressor, after_step=after_step, whole=lambda step, steps: step == steps
    )
    section = context.recipe.prune.model_copy(update={"epochs": len(accuracies)})
    run_fit(context, subject, section, "prune")
    return module


def test_what_was_last_before_a_collapse_is_kept_while_sparsity_grows(make, monkeypatch):
    context = make()
    context.accuracy = 0.95
    grown(context, [0.9, 0.8, 0.3, 0.2], monkeypatch)
    (warning,) = context.reporter.warnings
    path = context.directory / "stages" / "prune.growing.safetensors"
    assert "accuracy fell from 95.0% to 30.0% at 59.9% zeros" in warning
    assert f"the last before, at 40.0% zeros, are in {path}" in warning
    masks = [mask for name, mask in load_file(path).items() if name.startswith("mask.")]
    assert sum(int(mask.sum()) for mask in masks) == pytest.approx(
        0.6 * sum(mask.numel() for mask in masks), abs=2
    )


@pytest.mark.parametrize(
    ("classes", "accuracy", "warned"),
    [(2, 0.6, True), (2, 0.75, False), (10, 0.6, False), (10, 0.45, True)],
)
def test_a_collapse_is_one_toward_chance(make, monkeypatch, classes, accuracy, warned):
    def measured(module, loader, to_model, score):
        score(torch.eye(classes), torch.arange(classes))
        return accuracy

    context = make()
    context.accuracy = 0.95
    monkeypatch.setattr("exporter.stages.watch.evaluate", measured)
    run_fit(context, Subject("train", context.module()), context.recipe.train, "train")
    assert len(context.reporter.warnings) == warned


def test_labels_that_come_later_are_counted_too():
    score = Labelled(top1)
    score(torch.eye(4)[:2], torch.tensor([0, 1]))
    score(torch.eye(4)[:2], torch.tensor([1, 3]))
    score(torch.eye(4)[:1], torch.tensor([1]))
    assert score.chance == 3 / 5
    assert Labelled(top1).chance == 0.0


def test_what_never_was_better_than_chance_has_not_collapsed():
    assert not has_collapsed(0.3, 0.45, chance=0.5)
    assert has_collapsed(0.69, 0.9, chance=0.5)


def test_a_stage_is_measured_against_the_one_before(make, monkeypatch):
    context = make()
    context.accuracy = 0.9
    fitted(context, [0.4], monkeypatch)
    assert "accuracy fell from 90.0% to 40.0%" in context.reporter.warnings[0]


def test_the_bar_tells_loss_accuracy_zeros_and_bytes(make):
    context = make()
    train.train(context)
    train.prune(context)
    note = [note for note in context.reporter.notes if note.startswith("loss")][-1]
    for part in ("loss 0.", " · accuracy ", " · zeros 70.", " kB"):
        assert part in note


def test_qat_tells_zeros_and_bytes_as_the_stages_before(make):
    context = make(more="\n[quantize]\nepochs = 1\n")
    train.train(context)
    train.prune(context)
    train.share(context)
    figures = quantize.quantize(context)
    shared, last = rows(context, "share")[-1], rows(context, "quantize")[-1]
    assert float(last["sparsity"]) == pytest.approx(figures["sparsity"], abs=1e-5)
    assert float(last["sparsity"]) == pytest.approx(float(shared["sparsity"]), abs=0.03)
    assert int(last["coded_bytes"]) == pytest.approx(int(shared["coded_bytes"]), rel=0.02)
    assert all(row["sparsity"] for row in rows(context, "quantize"))
    note = [note for note in context.reporter.notes if note.startswith("loss")][-1]
    assert " · zeros 7" in note
    assert " kB" in note


def test_batch_norm_is_estimated_anew(make):
    context = make()
    train.train(context)
    train.prune(context)
    pruned = load_file(context.state_path("pruned"))
    # 32 samples in batches of 16, from a count of none.
    assert int(pruned["model.1.num_batches_tracked"]) == 2


@pytest.mark.parametrize(("data", "cached"), [("still", True), ("data", False)])
def test_the_fp32_network_teaches_what_follows(make, monkeypatch, data, cached):
    taught, files = [], set()
    context = make(data=data, more="\n[distill]\ntemperature = 2.0\n")

    def blend(teacher, value, outputs, given):
        taught.append((teacher, given))
        files.update(path.suffix for path in (context.directory / "stages").iterdir())
        return value

    monkeypatch.setattr("exporter.stages.fitting.Teacher.blend", blend)
    train.train(context)
    assert not taught  # of itself it learns nothing
    train.prune(context)
    teacher, outputs = taught[0]
    assert len(taught) == 12
    assert outputs.shape == (16, 4)
    assert teacher.runs == (6 if cached else 12)
    # A process that is killed here leaves no outputs behind.
    assert files == {".safetensors"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[prune]", '[distill]\nfactory = "a:b"\n[prune]', "both factory and weights"),
        ("[prune]", '[prune]\nuntil = "2 parsecs"', "parsecs"),
        ("[loop]", '[loop]\nprecision = "fp8"', "'fp32', 'bf16' or 'fp16'"),
        ('test = "stages_only_module:test"\n', "", "names nothing to measure it on"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, words):
    path = stages_only.write(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=words):
        load_recipe(path)


@pytest.mark.parametrize("words", ["validation", "test"])
def test_validation_data_choose_where_they_are_named(make, words):
    context = make()
    data = context.recipe.data
    if words == "validation":
        data = data.model_copy(update={"validation": "stages_only_module:still"})
    context.recipe = context.recipe.model_copy(update={"data": data})
    assert len(context.dataset("validation")) == (96 if words == "validation" else 48)


def test_a_stage_is_measured_against_the_one_before_on_validation_data_alone(tmp_path, monkeypatch):
    path = stages_only.write(tmp_path, data="still", dropout=0.0)
    path.write_text(path.read_text().replace("test = ", "validation = "))
    epochs = iter([0.7, 0.8, 0.9, 0.3, 0.3])
    monkeypatch.setattr("exporter.stages.watch.evaluate", lambda *_: next(epochs))
    monkeypatch.setattr("exporter.stages.train.evaluate", lambda *_: 0.9)
    told = Telling()
    pipeline.run_recipe(path, tmp_path / "build", reporter=told, until="prune")
    assert [text for text in told.warnings if "accuracy fell from 90.0% to 30.0%" in text]


@pytest.mark.parametrize(
    ("able", "precision", "warned"),
    [(False, "bf16", True), (True, "bf16", False), (False, "fp32", False)],
)
def test_a_precision_that_slows_training_down_is_told(make, monkeypatch, able, precision, warned):
    context = make()
    loop = context.recipe.loop.model_copy(update={"precision": precision})
    context.recipe = context.recipe.model_copy(update={"loop": loop})
    said = []
    monkeypatch.setattr(context.reporter, "warn", said.append, raising=False)
    monkeypatch.setattr(pipeline, "computes_bf16", lambda: able)
    pipeline._warn_of_slow_training(context)
    assert ["bf16" in text for text in said] == [True] * warned
