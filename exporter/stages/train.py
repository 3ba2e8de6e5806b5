"""The training stages: fp32, pruning, few levels. Each starts from the stage before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from exporter.compress import Compressor, compress
from exporter.compress.schedule import cubic
from exporter.layers import entropy_bytes
from exporter.quantize.fold import Grids
from exporter.recipe import FitSection
from exporter.stages.context import (
    Context,
    Figures,
    load_tensors,
    load_weights,
    save_tensors,
)
from exporter.train import FitSettings, evaluate, fit

AfterStep = Callable[[int, int], None]


def train(context: Context) -> Figures:
    """Train to fp32, or take the weights that the recipe names."""
    recipe = context.recipe
    module = context.module(recipe.model.weights)
    if recipe.train is not None:
        run_fit(context, module, recipe.train, "train fp32")
    save_tensors(context.state_path("fp32"), module.state_dict())
    return _figures(context, module, [])


def prune(context: Context) -> Figures:
    """Prune gradually while training goes on."""
    section = context.recipe.prune
    if section is None:
        raise ValueError("the recipe has no [prune] section")
    module = context.module(context.state_path("fp32"))
    compressor = compress(module, exempt=section.exempt)

    def after_step(step: int, steps: int) -> None:
        ramp = max(1.0, section.ramp * steps)
        if step <= ramp + section.every and step % section.every == 0:
            compressor.prune(cubic(step / ramp, section.sparsity))
        compressor.step()

    run_fit(context, module, section, f"prune to {section.sparsity:.0%}", after_step)
    compressor.prune(section.sparsity)
    figures = _figures(context, module, _weights(compressor))
    _save(context.state_path("pruned"), module, compressor)
    return figures


def share(context: Context) -> Figures:
    """Read the weights through few levels while training goes on."""
    section = context.recipe.share
    if section is None:
        raise ValueError("the recipe has no [share] section")
    before = context.state_path("pruned" if context.recipe.prune is not None else "fp32")
    module, compressor = _restore(context, before)
    compressor.share(section.step)
    run_fit(context, module, section, "share weights (QAT)", lambda *_: compressor.step())
    figures = _figures(context, module, _weights(compressor))
    _save(context.state_path("shared"), module, compressor)
    return figures


def trained_module(context: Context) -> tuple[nn.Module, Grids]:
    """The module after the last training stage, and the grids that its weights lie on."""
    recipe = context.recipe
    if recipe.prune is None and recipe.share is None:
        return context.module(context.state_path("fp32")), {}
    stage = "shared" if recipe.share is not None else "pruned"
    module, compressor = _restore(context, context.state_path(stage))
    return module, compressor.finish()


def run_fit(
    context: Context,
    module: nn.Module,
    section: FitSection,
    title: str,
    after_step: AfterStep | None = None,
    to_model: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Fit with a progress bar; `module` is trained in place."""
    context.seed()
    loader = context.loader("train", shuffle=True)
    settings = FitSettings(section.epochs, section.lr, section.momentum, section.weight_decay)
    steps = max(1, round(settings.epochs * len(loader)))
    with context.reporter.stage(title, steps) as advance:
        fit(
            module,
            loader,
            settings,
            to_model=to_model or context.spec.to_model,
            loss=nn.functional.cross_entropy,
            after_step=after_step,
            on_step=lambda step, loss: advance(1, f"loss {loss:.3f}"),
        )


def _weights(compressor: Compressor) -> list[torch.Tensor]:
    return list(compressor.weights().values())


def _figures(context: Context, module: nn.Module, weights: list[torch.Tensor]) -> Figures:
    """Accuracy, sparsity, and the bytes that an ideal coder needs for the weights."""
    parameters = sum(p.numel() for p in module.parameters())
    coded = sum(weight.numel() for weight in weights)
    figures = {"sparsity": 0.0, "weight_bytes": 4.0 * parameters}
    if weights:
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        figures["sparsity"] = zeros / coded
        entropy = sum(entropy_bytes(weight.detach().numpy()) for weight in weights)
        figures["weight_bytes"] = entropy + 4.0 * (parameters - coded)
    if context.recipe.data.test is not None:
        loader = context.loader("test", shuffle=False)
        figures["accuracy"] = evaluate(module, loader, context.spec.to_model)
    return figures


def _save(path: Path, module: nn.Module, compressor: Compressor) -> None:
    model = {f"model.{key}": value for key, value in module.state_dict().items()}
    save_tensors(path, model | compressor.state_dict())


def _restore(context: Context, path: Path) -> tuple[nn.Module, Compressor]:
    prune_section = context.recipe.prune
    exempt = prune_section.exempt if prune_section is not None else ()
    module = context.module()
    compressor = compress(module, exempt=exempt)
    tensors = load_tensors(path)
    model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    if not model:
        load_weights(module, path)
        return module, compressor
    module.load_state_dict(model)
    compressor.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("model.")})
    return module, compressor


__all__ = ["prune", "run_fit", "share", "train", "trained_module"]
