"""The picture of a sensitivity scan: one small chart a layer, loss and accuracy over bytes."""

from __future__ import annotations

from typing import Any, Final

from markupsafe import Markup

from exporter.compress.proposal import Proposal
from exporter.compress.sensitivity import LayerCurve, Scan
from exporter.gate.units import BYTES
from exporter.report.svg import COLOURS, drawing, inline_svg, short

__all__ = ["sensitivity_picture"]

_COLUMNS: Final = 4
_COLUMN_IN: Final = 1.9
_ROW_IN: Final = 1.55
_HEADROOM: Final = 6.0
"""Losses are drawn to so many times the allowed rise: what leaves the frame is out of the question
without much training."""


def sensitivity_picture(scan: Scan, proposal: Proposal) -> Markup:
    """Two lines a layer: through its sparsities and through its steps; a stroke at the proposal.

    Each line is drawn as loss, and dotted as accuracy, on an axis of its own at the right.
    """
    rows = -(-len(scan.layers) // _COLUMNS)
    columns = min(_COLUMNS, len(scan.layers))
    with drawing(_COLUMN_IN * _COLUMNS, 0.6 + _ROW_IN * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for place, layer in enumerate(scan.layers, 1):
            shares = _panel(grid[place - 1], layer, scan, proposal)
            shares.tick_params(labelright=place % columns == 0)
            if place % columns == 0:
                shares.set_ylabel("accuracy")
        for axes in grid[len(scan.layers) :]:
            axes.set_axis_off()
        for axes in grid[::columns]:
            axes.set_ylabel("loss, nats")
        low = min([scan.loss, *_losses(scan)])
        top = scan.loss + _HEADROOM * proposal.allowed_loss
        grid[0].set_ylim(low - 0.05 * (top - low), top)
        # Not every layer has every line: an exempt one has no proposal.
        lines = {
            label: line
            for axes in grid
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(lines.values()), list(lines), loc="outside upper left", ncols=5)
        return inline_svg(figure, "sensitivity", "Loss and accuracy over bytes, layer by layer")


def _losses(scan: Scan) -> list[float]:
    return [p.loss for layer in scan.layers for p in (*layer.sparsities, *layer.steps)]


def _panel(axes: Any, layer: LayerCurve, scan: Scan, proposal: Proposal) -> Any:
    """Draw a layer; gives the axis of accuracy."""
    whole = layer.coded_bytes
    shares = axes.twinx()
    for points, colour, label in (
        (layer.sparsities, "onnx", "more zeros"),
        (layer.steps, "tflite", "coarser steps"),
    ):
        if points:
            sizes = [whole, *(point.coded_bytes for point in points)]
            losses = [scan.loss, *(point.loss for point in points)]
            axes.plot(sizes, losses, marker="o", ms=3, lw=1.1, color=COLOURS[colour], label=label)
            found = [scan.accuracy, *(point.accuracy for point in points)]
            shares.plot(sizes, found, lw=1.1, ls=":", color=COLOURS[colour])
    axes.plot([], [], lw=1.1, ls=":", color=COLOURS["muted"], label="accuracy")
    shares.set_ylim(0, 1.05)
    shares.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    shares.grid(visible=False)
    axes.axhline(
        scan.loss + proposal.allowed_loss,
        color=COLOURS["muted"],
        lw=0.8,
        ls=(0, (3, 2)),
        label="allowed in all",
    )
    setting = proposal.layers.get(layer.name)
    if setting is not None:
        axes.axvline(setting.coded_bytes, color=COLOURS["stage"], lw=1.4, label="proposed")
    axes.set_xlim(0, whole * 1.05)
    axes.set_xticks([0, whole], ["0", BYTES.format(round(whole))])
    axes.set_title(short(layer.name, 22), loc="left", fontsize=8, fontweight="bold")
    return shares
