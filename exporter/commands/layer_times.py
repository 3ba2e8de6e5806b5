"""How long layers take on a device, for channel pruning to milliseconds: layer-times."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.commands.device import Configured
from exporter.commands.options import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devices.session import Benched
    from exporter.compress.layer_times import LayerTimes


class FileFormat(StrEnum):
    """Whose files are measured."""

    tflite = "tflite"
    onnx = "onnx"


def layer_times(
    recipe: Annotated[Path, typer.Argument(help="a recipe.toml: its model and input")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="the table, for `times` in [channels]")
    ],
    device: Annotated[str, typer.Option(help="a name or an address")] = "local",
    runtime: Annotated[
        FileFormat, typer.Option(help="whose files are measured")
    ] = FileFormat.tflite,
    threads: Annotated[int, typer.Option(min=1, help="of the interpreter")] = 1,
    seconds: Annotated[float, typer.Option(min=0.01, help="for each file")] = 0.5,
    shares: Annotated[
        str, typer.Option(help="of the channels of a layer to measure at, with commas")
    ] = "0.25,0.5,1",
    devices: Configured = None,
) -> None:
    """Measure the int8 layers of a recipe's model on a device, over their widths."""
    import torch

    from devices.config import find_device, load_devices
    from exporter.build import save_json
    from exporter.layer_times import Conditions, grid_of, measure_layers
    from exporter.progress import Bars
    from exporter.recipe import load_recipe
    from exporter.stages.context import Context
    from exporter.terminal import console

    reporter = Bars(console(stderr=True))
    context = Context(load_recipe(recipe), recipe.resolve().parent, Path("build"), reporter)
    module, spec = context.module(), context.spec
    conditions = Conditions(runtime.value, threads, seconds)
    grid = grid_of(module, torch.zeros(spec.shape), numbers(shares))
    with (
        find_device(device, load_devices(devices)).open() as session,
        reporter.stage("layer times", len(grid) + 1) as advance,
    ):
        times, benched = measure_layers(session, module, spec, grid, conditions, advance)
    save_json(output, times)
    _print(times, benched)
    typer.echo(f"wrote {output}: name it as `times`, beside `target_ms`, in [channels]")


def _print(times: LayerTimes, benched: Sequence[Benched]) -> None:
    """A line for each kind of layer, at its widest and its narrowest; what was not valid."""
    from rich.table import Table

    from exporter.layer_times import SingleLayer, shown
    from exporter.terminal import console

    table = Table(
        box=None,
        title=f"{times.device}, {times.runtime}, {times.threads} thread(s): "
        f"the whole network takes {times.network_ms:.3f} ms",
        title_justify="left",
    )
    table.add_column("widest layer of a kind", overflow="fold")
    for column in ("ms", "narrowest measured", "ms"):
        table.add_column(column, justify="right")
    for shape in dict.fromkeys(row.shape for row in times.rows):
        rows = [row for row in times.rows if row.shape == shape]
        first, last = rows[0], rows[-1]
        narrow = f"{first.inputs} → {first.outputs}"
        widest = shown(SingleLayer(shape, last.outputs, last.inputs))
        table.add_row(widest, f"{last.ms:.3f}", narrow, f"{first.ms:.3f}")
    console().print(table)
    bad = [one for one in benched if not one.row.valid]
    for reason in dict.fromkeys(reason for one in bad for reason in one.row.reasons):
        count = sum(reason in one.row.reasons for one in bad)
        typer.echo(f"not valid: {count} of {len(benched)} measurements: {reason}", err=True)
