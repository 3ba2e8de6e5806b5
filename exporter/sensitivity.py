"""What `edgewright sensitivity` does: scan a network, propose settings, write three files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from exporter.build import Frozen, save_json, write_bytes
from exporter.compress.proposal import Proposal, propose, toml
from exporter.compress.sensitivity import SPARSITIES, STEPS, Batch, Scan, prunable, scan
from exporter.errors import RecipeError
from exporter.progress import Reporter, Silent
from exporter.recipe import load_recipe
from exporter.report.sensitivity_plot import sensitivity_picture
from exporter.report.svg import standalone
from exporter.stages.channels import bare_module, start_path
from exporter.stages.context import Context, sample_of

NAME: Final = "sensitivity"
ALLOWED_LOSS: Final = 0.1


@dataclass(frozen=True)
class Wanted:
    """What to scan: see `exporter.compress.sensitivity.scan`; samples of the test or train data."""

    weights: Path | None = None
    sparsities: Sequence[float] = SPARSITIES
    steps: Sequence[float] = STEPS
    samples: int = 512
    allowed_loss: float = ALLOWED_LOSS


class Sensitivity(Frozen):
    """sensitivity.json."""

    schema_version: int = 1
    weights: str
    scan: Scan
    proposal: Proposal


def run_sensitivity(
    path: Path, directory: Path | None, wanted: Wanted, reporter: Reporter | None = None
) -> tuple[Sensitivity, str]:
    """Scan; gives what was found and the proposed tables, which are in `directory` as well.

    Raises:
        RecipeError: a value is out of range, there are no trained weights, or what the network
            gives cannot be scored.
    """
    _check(wanted)
    recipe = load_recipe(path)
    target = directory if directory is not None else Path("build") / recipe.name
    context = Context(recipe, path.resolve().parent, target, reporter or Silent())
    module, weights = _trained(context, wanted.weights)
    batches = _batches(context, wanted.samples)
    count = len(prunable(module)) * (len(wanted.sparsities) + len(wanted.steps))
    with context.reporter.stage("sensitivity", count) as advance:
        found = scan(module, batches, wanted.sparsities, wanted.steps, advance, context.task)
    exempt = () if recipe.prune is None else recipe.prune.exempt
    proposal = propose(module, batches, found, wanted.allowed_loss, exempt, context.task)
    document = Sensitivity(weights=str(weights), scan=found, proposal=proposal)
    text = toml(proposal, recipe.prune, recipe.share)
    picture = standalone(sensitivity_picture(found, proposal))
    save_json(target / f"{NAME}.json", document)
    write_bytes(target / f"{NAME}.toml", text.encode())
    write_bytes(target / f"{NAME}.svg", picture.encode())
    return document, text


def _check(wanted: Wanted) -> None:
    bad = [one for one in wanted.sparsities if not 0.0 < one < 1.0]
    bad += [one for one in wanted.steps if not one > 0.0]
    if bad or wanted.samples < 1 or not wanted.allowed_loss > 0 or not wanted.sparsities:
        raise RecipeError(
            "a value to scan is out of range",
            expected="sparsities in (0, 1), at least one; steps, samples and --allow above 0",
            found=", ".join(f"{one:g}" for one in bad),
        )


def _trained(context: Context, weights: Path | None) -> tuple[nn.Module, Path]:
    """The network behind channel pruning if it was built, else with the recipe's own weights."""
    if weights is not None:
        return context.module(weights), weights
    built = start_path(context)
    if built.is_file():
        return bare_module(context, built), built
    given = context.recipe.model.weights
    if given is None:
        raise RecipeError(
            "there are no trained weights to scan",
            expected=f"{built}, weights in [model], or --weights FILE",
            found="none of them",
            remedy="build once with `edgewright run`, or name a state dict",
        )
    return context.module(given), given


def _batches(context: Context, samples: int) -> list[Batch]:
    """The first samples of the test data, or of the training data where there is none."""
    name = "train" if context.recipe.data.test is None else "test"
    left, batches = samples, []
    for inputs, targets in context.loader(name, shuffle=False):
        labels = torch.as_tensor(targets)[:left]
        batches.append((context.spec.to_model(sample_of(inputs)[:left]), labels))
        left -= len(labels)
        if left <= 0:
            break
    return batches
