"""The stage of channel pruning, and the module as the stages behind it know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.table import Table
from torch import nn

from exporter.build import load_json, save_json
from exporter.compress.channels import Channels, Chosen, choose_channels, remove_channels
from exporter.compress.layer_times import load_times
from exporter.compress.widths import Widths
from exporter.compress_recipe import ChannelsSection
from exporter.stages.context import Context, sample_of
from exporter.stages.fitting import Subject, run_fit, settle_batch_norm

TARGETS = {"macs": "MACs", "parameters": "parameters", "target_ms": "milliseconds"}


def narrow_and_fit(context: Context) -> nn.Module:
    """Prune the channels of the fp32 network, train it on, and save it with its widths."""
    section = context.recipe.channels
    if section is None:
        raise ValueError("the recipe has no [channels] section")
    module = context.module(context.state_path("fp32"))
    example = torch.zeros(context.spec.shape)
    with context.reporter.stage("choose channels", 1) as advance:
        chosen = context.team.share(lambda: _choose(context, section, module, example))
        advance(1, "")
    before = {name: _outputs(part) for name, part in module.named_modules()}
    widths = remove_channels(module, example, chosen.removed)
    context.reporter.show(_table(section, chosen, before, widths))
    if context.team.main:
        save_json(widths_path(context), widths)
    subject = Subject("channels", module)
    run_fit(context, subject, section, "train the narrow network")
    settle_batch_norm(context, module, section)
    context.save(context.state_path("narrowed"), subject.state())
    return module


def widths_path(context: Context) -> Path:
    """Where the sizes of the narrow network are."""
    return context.directory / "stages" / "narrowed.json"


def start_path(context: Context) -> Path:
    """The weights that the stages behind channel pruning start from."""
    return context.state_path("fp32" if context.recipe.channels is None else "narrowed")


def bare_module(context: Context, state: Path | None = None) -> nn.Module:
    """The user's module as it is behind channel pruning, with the weights of a stage if named."""
    widths = None
    if context.recipe.channels is not None:
        widths = load_json(widths_path(context), Widths)
    return context.module(state, widths)


def _choose(
    context: Context, section: ChannelsSection, module: nn.Module, example: torch.Tensor
) -> Chosen:
    channels = Channels(
        macs=section.macs,
        parameters=section.parameters,
        milliseconds=section.target_ms,
        times=None if section.times is None else load_times(section.times),
        importance=section.importance,
        scope=section.scope,
        multiple=section.multiple,
        least=section.least,
        exempt=section.exempt,
    )
    context.seed()
    return choose_channels(module, example, channels, _labelled(context), context.task.loss)


def _labelled(context: Context) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Training batches with their labels, as many samples as calibration takes."""
    left = context.recipe.data.calibration_samples
    for samples, labels in context.loader("train", shuffle=False):
        yield context.spec.to_model(sample_of(samples)[:left]), labels[:left]
        left -= len(labels)
        if left <= 0:
            return


def _outputs(part: nn.Module) -> int | None:
    found = getattr(part, "out_channels", getattr(part, "out_features", None))
    return found if isinstance(found, int) else None


def _table(
    section: ChannelsSection, chosen: Chosen, before: dict[str, int | None], widths: Widths
) -> Table:
    name = next(name for name in TARGETS if getattr(section, name) is not None)
    share = chosen.after / chosen.before
    table = Table(
        box=None,
        title=f"{share:.1%} of {TARGETS[name]}: {chosen.before:.4g} → {chosen.after:.4g}",
        title_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("outputs", justify="right")
    for layer, outputs in widths.layers.items():
        table.add_row(layer, f"{before[layer]} → {outputs}")
    for layer, why in chosen.kept.items():
        table.add_row(layer, f"kept: {why}")
    return table
