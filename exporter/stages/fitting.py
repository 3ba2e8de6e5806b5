"""One stretch of training as a stage of a build: saved, logged, measured, told of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.utils.data import Dataset

from exporter.compress import Compressor
from exporter.compress.batch_norm import re_estimate
from exporter.fit_recipe import FitSection
from exporter.stages.context import Context, sample_of
from exporter.stages.sizes import Sizes
from exporter.stages.watch import Watch
from exporter.stages.weights import load_tensors
from exporter.train import Checkpoints, FitSettings, Hooks, Teacher, fit, randomness
from exporter.train.checkpoint import Part, Tensors
from exporter.train.distill import is_deterministic

TRAINING_LOG: Final = "training.csv"

AfterStep = Callable[[int, int], None]
ToModel = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Subject:
    """What a stage trains.

    Attributes:
        stage: its name; files of it are called after it.
        module: trained in place.
        compressor: of its weights, if it has one.
        sizes: tells zeros and bytes where no compressor does.
        to_model: turns samples into what the module takes; None is the recipe's own way.
        after_step: with (step, steps) behind each optimizer step.
        whole: whether the weights at a step are what the stage is to end with, but for training:
            only these can be its best ones. Not while sparsity grows.
        stops: with the accuracy, or None, and the coded bytes, or None, behind each epoch; True
            ends the stage.
        parts: further state that a checkpoint must hold.
    """

    stage: str
    module: nn.Module
    compressor: Compressor | None = None
    sizes: Sizes | None = None
    to_model: ToModel | None = None
    after_step: AfterStep = lambda step, steps: None
    whole: Callable[[int, int], bool] = lambda step, steps: True
    stops: Callable[[float | None, int | None], bool] = lambda accuracy, coded: False
    parts: dict[str, Part] = field(default_factory=dict)

    def state(self) -> Tensors:
        """All of it as tensors: what `take` takes."""
        state = self.module.state_dict()
        if self.compressor is None:
            return dict(state)
        return {f"model.{k}": t for k, t in state.items()} | self.compressor.state_dict()

    def take(self, tensors: Tensors) -> None:
        """Take a state back."""
        if self.compressor is None:
            self.module.load_state_dict(tensors)
            return
        model = {k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")}
        self.module.load_state_dict(model)
        rest = {k: t for k, t in tensors.items() if not k.startswith("model.")}
        self.compressor.load_state_dict(rest)


def run_fit(context: Context, subject: Subject, section: FitSection, title: str) -> None:
    """Fit with a progress bar, checkpoints and a log; the subject is trained in place."""
    context.seed()
    dataset = context.dataset("train")
    settings = fit_settings(context, section)
    with randomness.kept():
        teacher = _teacher(context, subject.stage, dataset)
        steps = steps_of(context, section)
    with context.reporter.stage(title, steps) as advance:
        watch = Watch(context, subject, section, advance)
        checkpoints = _checkpoints(context, subject, watch)
        try:
            fit(
                subject.module,
                dataset,
                settings,
                to_model=subject.to_model or context.spec.to_model,
                loss=context.task.loss,
                hooks=Hooks(subject.after_step, watch.on_step, watch.on_epoch),
                checkpoints=checkpoints,
                teacher=teacher,
            )
        finally:
            watch.close()
            if teacher is not None:
                teacher.close()
    if section.keep == "best" and watch.best_path.is_file():
        subject.take(load_tensors(watch.best_path))


def steps_of(context: Context, section: FitSection) -> int:
    """How many optimizer steps a stretch of training has."""
    batches = len(context.loader("train", shuffle=True))
    return fit_settings(context, section).steps(batches)


def fit_settings(context: Context, section: FitSection) -> FitSettings:
    """What the recipe says of a stretch of training."""
    loop, data = context.recipe.loop, context.recipe.data
    return FitSettings(
        epochs=section.epochs,
        lr=section.lr,
        batch_size=data.batch_size,
        optimizer=section.optimizer,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        precision=loop.precision,
        accumulate=loop.accumulate,
        clip=loop.clip_gradients,
        freeze_batch_norm=section.freeze_batch_norm,
        workers=loop.workers,
        seed=context.recipe.seed,
    )


def settle_batch_norm(context: Context, module: nn.Module, section: FitSection) -> None:
    """Estimate batch norm's statistics anew on training samples, where the section says so."""
    left = section.reestimate_batch_norm
    if not left or not context.team.main:
        return
    with randomness.kept(), context.reporter.stage("re-estimate batch norm", left) as advance:
        context.seed()

        def batches() -> Any:
            nonlocal left
            for batch in context.loader("train", shuffle=True):
                samples = sample_of(batch)[:left]
                yield context.spec.to_model(samples)
                left -= len(samples)
                advance(len(samples), "")
                if left <= 0:
                    return

        re_estimate(module, batches())


def checkpoint_path(context: Context, stage: str) -> Path:
    """Where an interrupted stage is."""
    return context.directory / "stages" / f"{stage}.checkpoint.safetensors"


def _checkpoints(context: Context, subject: Subject, watch: Watch) -> Checkpoints:
    loop = context.recipe.loop
    parts: dict[str, Part] = {"watch": watch, **subject.parts}
    if subject.compressor is not None:
        parts["compressor"] = subject.compressor
    return Checkpoints(
        checkpoint_path(context, subject.stage),
        context.key,
        resume=context.resume,
        seconds=loop.checkpoint_seconds,
        steps=loop.checkpoint_steps,
        parts=parts,
    )


def _teacher(context: Context, stage: str, dataset: Dataset[Any]) -> Teacher | None:
    """The recipe's teacher; the network itself learns from none before it is trained."""
    section = context.recipe.distill
    if section is None or (stage == "train" and section.factory is None):
        return None
    if section.factory is not None:
        module = context.made(section.factory, section.arguments, section.weights)
    else:
        module = context.module(context.state_path("fp32"))
    cached = section.cache
    if cached == "auto":
        cached = is_deterministic(dataset)
    samples = len(dataset)  # type: ignore[arg-type]
    return Teacher(
        module,
        context.spec.to_model,
        temperature=section.temperature,
        alpha=section.alpha,
        cache=(context.directory / "stages", samples) if cached else None,
    )
