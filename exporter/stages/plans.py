"""From the recipe's sections to the compressor's plans: epochs become optimizer steps."""

from __future__ import annotations

from dataclasses import replace

from exporter.compress import Levels, Plan, Ramp, compress
from exporter.compress.criteria import pattern_of
from exporter.compress_recipe import PruneSection, ShareSection
from exporter.stages.context import Context


def prune_plan(section: PruneSection, steps: int) -> Plan:
    """The plan of `[prune]` over this many optimizer steps."""
    pattern = pattern_of(section.criterion)
    if section.ramps:
        rate = steps / section.epochs
        ramps = tuple(
            Ramp(one.sparsity, max(1, round(one.epochs * rate)), round(one.hold * rate))
            for one in section.ramps
        )
    else:
        final = section.sparsity if pattern is None else pattern.sparsity
        ramps = (Ramp(final or 0.0, max(1, round(section.ramp * steps))),)
    return Plan(ramps, section.criterion, section.every, section.exempt, layers=section.layers)


def levels_of(section: ShareSection) -> Levels:
    """The levels of `[share]`."""
    return Levels(section.levels, section.step, section.codes, layers=section.layers)


def check_layers(context: Context) -> None:
    """Refuse names of layers that the model does not have, before anything trains.

    Raises:
        RecipeError: one that matches no layer which takes part, with those that are near.
    """
    prune, share = context.recipe.prune, context.recipe.share
    plan = Plan() if prune is None else prune_plan(prune, 1)
    levels = None if share is None else levels_of(share)
    if plan.exempt or plan.layers or (levels is not None and levels.layers):
        compress(context.module(), replace(plan, levels=levels))
