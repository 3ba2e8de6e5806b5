"""The training stages: fp32, channels, pruning, few levels; each starts from the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import nn

from exporter.compress import Compressor, Plan, compress
from exporter.compress.magnitude import check_finite
from exporter.quantize.fold import Grids
from exporter.stages.channels import bare_module, narrow_and_fit, start_path
from exporter.stages.context import Context, Figures
from exporter.stages.fitting import Subject, run_fit, settle_batch_norm, steps_of
from exporter.stages.growth import Growth, warn_if_larger
from exporter.stages.plans import levels_of, prune_plan
from exporter.stages.weights import load_tensors, load_weights
from exporter.train import evaluate

MEASURED: Final = {"test": "accuracy", "validation": "validation_accuracy"}
"""Figures by the data that they are measured on."""


def train(context: Context) -> Figures:
    """Train to fp32, or take the weights that the recipe names."""
    recipe = context.recipe
    module = context.module(recipe.model.weights)
    check_finite(module.named_parameters())
    subject = Subject("train", module)
    if recipe.train is not None:
        run_fit(context, subject, recipe.train, "train fp32")
        settle_batch_norm(context, module, recipe.train)
    context.save(context.state_path("fp32"), subject.state())
    return _figures(context, module, None)


def channels(context: Context) -> Figures:
    """Prune channels, and train the narrow network on."""
    return _figures(context, narrow_and_fit(context), None)


def prune(context: Context) -> Figures:
    """Prune gradually while training goes on."""
    section = context.recipe.prune
    if section is None:
        raise ValueError("the recipe has no [prune] section")
    module = bare_module(context, start_path(context))
    plan = prune_plan(section, steps_of(context, section))
    compressor = compress(module, plan)
    growth = Growth(context, section, compressor)
    subject = Subject(
        "prune",
        module,
        compressor,
        after_step=growth.after_step,
        whole=growth.whole,
        stops=growth.judge,
        parts={"growth": growth},
    )
    run_fit(context, subject, section, f"prune to {plan.sparsity:.0%}")
    growth.say_if_missed()
    settle_batch_norm(context, module, section)
    context.save(context.state_path("pruned"), subject.state())
    return _figures(context, module, compressor)


def share(context: Context) -> Figures:
    """Read the weights through few levels while training goes on."""
    section = context.recipe.share
    if section is None:
        raise ValueError("the recipe has no [share] section")
    before = start_path(context) if context.recipe.prune is None else context.state_path("pruned")
    module, compressor = _restore(context, before)
    compressor.share(levels_of(section), context.calibration())
    subject = Subject("share", module, compressor, after_step=lambda step, steps: compressor.step())
    run_fit(context, subject, section, "share weights (QAT)")
    warn_if_larger(context, "share", compressor.coded_bytes(), compressor.sparsity())
    settle_batch_norm(context, module, section)
    context.save(context.state_path("shared"), subject.state())
    return _figures(context, module, compressor)


def trained_module(context: Context) -> tuple[nn.Module, Grids]:
    """The module after the last training stage, and the grids that its weights lie on."""
    recipe = context.recipe
    if recipe.prune is None and recipe.share is None:
        return bare_module(context, start_path(context)), {}
    stage = "shared" if recipe.share is not None else "pruned"
    module, compressor = _restore(context, context.state_path(stage))
    return module, compressor.finish()


def _figures(context: Context, module: nn.Module, compressor: Compressor | None) -> Figures:
    """Accuracy, sparsity, and bytes: of the parameters, or of the weights as our coder has them."""
    if not context.team.main:
        return {}
    parameters = sum(p.numel() for p in module.parameters())
    figures = {"sparsity": 0.0, "weight_bytes": 4.0 * parameters}
    if compressor is not None:
        figures["sparsity"] = compressor.sparsity()
        figures["weight_bytes"] = compressor.coded_size().weights
    data, task = context.recipe.data, context.task
    for name, found in (("test", data.test), ("validation", data.validation)):
        if found is not None:
            loader = context.loader(name, shuffle=False)
            figures[MEASURED[name]] = evaluate(module, loader, context.spec.to_model, task.score)
    return figures


def _restore(context: Context, path: Path) -> tuple[nn.Module, Compressor]:
    prune_section = context.recipe.prune
    exempt = prune_section.exempt if prune_section is not None else ()
    module = bare_module(context)
    compressor = compress(module, Plan(exempt=exempt), to_model=context.spec.to_model)
    if path == start_path(context):
        load_weights(module, path)
    else:
        Subject("", module, compressor).take(load_tensors(path))
    return module, compressor


__all__ = ["channels", "prune", "share", "train", "trained_module"]
