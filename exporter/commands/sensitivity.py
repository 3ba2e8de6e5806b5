"""Which layers can spare what: sensitivity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.commands.options import AsJson, numbers

if TYPE_CHECKING:
    from exporter.sensitivity import Sensitivity


def sensitivity(
    recipe: Annotated[Path, typer.Argument(help="a recipe.toml")],
    weights: Annotated[
        Path | None, typer.Option(help="a state dict; the build's fp32 weights by default")
    ] = None,
    sparsities: Annotated[
        str, typer.Option(help="shares of zeros to try, with commas")
    ] = "0.3,0.5,0.7,0.8,0.9,0.95,0.98",
    steps: Annotated[
        str, typer.Option(help="steps to try, in units of a layer's RMS, with commas")
    ] = "0.1,0.2,0.35,0.5,0.75,1",
    samples: Annotated[int, typer.Option(help="of the test data, or of the training data")] = 512,
    allow: Annotated[
        float, typer.Option(help="how much the loss may rise in the proposal, in nats")
    ] = 0.1,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the build directory, for weights and files; build/NAME"),
    ] = None,
    json: AsJson = False,
) -> None:
    """Change one layer at a time, and propose sparsities and steps for each.

    Writes sensitivity.json, sensitivity.svg and sensitivity.toml into the build directory.
    """
    from exporter.progress import Bars
    from exporter.sensitivity import Wanted, run_sensitivity
    from exporter.terminal import console

    wanted = Wanted(weights, numbers(sparsities), numbers(steps), samples, allow)
    found, text = run_sensitivity(recipe, out, wanted, Bars(console(stderr=True)))
    if json:
        print(found.model_dump_json(indent=1))
        return
    _print(found)
    console().print(text, highlight=False, soft_wrap=True)


def _print(found: Sensitivity) -> None:
    from rich.table import Table

    from exporter.gate.units import SHARE
    from exporter.terminal import console

    out, scan, proposal = console(), found.scan, found.proposal
    out.print(
        f"{found.weights}: loss {scan.loss:.3f}, accuracy {SHARE.format(scan.accuracy)}, "
        f"{scan.samples} samples\n"
        "each cell: loss (nats), accuracy, coded bytes of the layer alone\n",
        soft_wrap=True,
    )
    for title, scanned in (("zeros", "sparsities"), ("step, in RMS", "steps")):
        points = {layer.name: getattr(layer, scanned) for layer in scan.layers}
        if not points[scan.layers[0].name]:
            continue
        table = Table(box=None, title=f"one layer changed: {title}", title_justify="left")
        table.add_column("layer", overflow="fold")
        values = [point.value for point in points[scan.layers[0].name]]
        for head in ("int8", *(_value(value, scanned) for value in values)):
            table.add_column(head, justify="right")
        for layer in scan.layers:
            before = f"{scan.loss:.3f}\n{SHARE.format(scan.accuracy)}\n{_size(layer.coded_bytes)}"
            cells = (
                f"{point.loss:.3f}\n{SHARE.format(point.accuracy)}\n{_size(point.coded_bytes)}"
                for point in points[layer.name]
            )
            table.add_row(f"{layer.name}\n  accuracy\n  coded", before, *cells)
        out.print(table)
        out.print()
    whole = sum(one.coded_bytes for one in scan.layers if one.name in proposal.layers)
    out.print(
        f"proposed: {_size(whole)} → {_size(proposal.coded_bytes)}; "
        f"loss {proposal.summed_loss:+.3f} by adding layers up, "
        f"{proposal.loss - scan.loss:+.3f} measured together; accuracy together "
        f"{SHARE.format(proposal.accuracy)}, before training takes it back\n",
        soft_wrap=True,
    )


def _value(value: float, scanned: str) -> str:
    return f"{value:.3g}" if scanned == "steps" else f"{100 * value:.3g} %"


def _size(size: float) -> str:
    from exporter.gate.units import BYTES

    return BYTES.format(round(size))
