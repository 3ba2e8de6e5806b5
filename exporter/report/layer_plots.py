"""The report's pictures of layers: their bytes, zeros, levels and bits, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

from exporter.contents import LayerRow
from exporter.report.svg import COLOURS, drawing, inline_svg, short, telling

__all__ = [
    "MOST_HISTOGRAMS",
    "MOST_LAYERS",
    "chosen",
    "heaviest",
    "histograms",
    "layer_bars",
    "level_bars",
]

MOST_LAYERS: Final = 40
MOST_HISTOGRAMS: Final = 6

_WIDTH_IN: Final = 4.7
_BAR_IN: Final = 0.2
_HISTOGRAM_IN: Final = 1.25
_COLUMNS: Final = 2


def layer_bars(layers: Sequence[LayerRow]) -> Markup | None:
    """Two rows of bars over the same layers: their bytes, and their share of zeros."""
    layers = heaviest(layers, MOST_LAYERS)
    if not layers:
        return None
    with drawing(_WIDTH_IN, 0.75 + _BAR_IN * len(layers)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        _bars(left, [layer.bytes / 1e3 for layer in layers], "stage", alpha=0.35)
        _bars(left, [layer.entropy_bytes / 1e3 for layer in layers], "stage")
        left.set_xlabel("kB")
        _bars(right, [layer.sparsity * 100 for layer in layers], "onnx")
        right.set_xlim(0, 100)
        right.set_xlabel("zeros, %")
        _name_rows((left, right), layers)
        return inline_svg(figure, "layers", "Bytes and share of zeros of each layer")


def level_bars(layers: Sequence[LayerRow]) -> Markup | None:
    """Two rows of bars over the same layers: distinct levels, and bits a weight."""
    layers = heaviest(layers, MOST_LAYERS)
    if not layers:
        return None
    with drawing(_WIDTH_IN, 0.75 + _BAR_IN * len(layers)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1))
        _bars(left, [layer.distinct_levels for layer in layers], "tflite")
        left.set_xlabel("different values")
        _bars(right, [layer.entropy_bits for layer in layers], "ort")
        right.set_xlabel("bits a weight")
        right.set_xlim(0, max(8.0, *(layer.entropy_bits for layer in layers)))
        _name_rows((left, right), layers)
        return inline_svg(figure, "levels", "Distinct levels and entropy of each layer")


def histograms(layers: Sequence[LayerRow]) -> Markup | None:
    """How often each integer occurs in the chosen layers; zero has its share written."""
    layers = chosen(layers, MOST_HISTOGRAMS)
    if not layers:
        return None
    rows = -(-len(layers) // _COLUMNS)
    with drawing(_WIDTH_IN, 0.35 + _HISTOGRAM_IN * rows) as figure:
        grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        names = telling([layer.name for layer in layers])
        for axes, layer, name in zip(grid, layers, names, strict=False):
            _histogram(axes, layer, name)
        for axes in grid[len(layers) :]:
            axes.set_axis_off()
        for axes in grid[max(0, len(layers) - _COLUMNS) : len(layers)]:
            axes.set_xlabel("integer weight")
        return inline_svg(figure, "weights", "How often each integer weight occurs, by layer")


def heaviest(layers: Sequence[LayerRow], most: int) -> list[LayerRow]:
    """The layers with the most bytes, in the order of the model."""
    kept = sorted(range(len(layers)), key=lambda place: -layers[place].bytes)[:most]
    return [layers[place] for place in sorted(kept)]


def chosen(layers: Sequence[LayerRow], most: int) -> list[LayerRow]:
    """The first and the last layer and the heaviest between them, in the order of the model."""
    counted = [layer for layer in layers if layer.histogram]
    ends = {0, len(counted) - 1} if counted else set()
    order = sorted(
        range(len(counted)), key=lambda place: (place not in ends, -counted[place].bytes)
    )
    return [counted[place] for place in sorted(order[:most])]


def _bars(axes: Any, values: Sequence[float], colour: str, alpha: float = 1.0) -> None:
    axes.barh(range(len(values)), values, height=0.62, color=COLOURS[colour], alpha=alpha)


def _name_rows(pair: tuple[Any, Any], layers: Sequence[LayerRow]) -> None:
    left, _ = pair
    names = telling([layer.name for layer in layers])
    left.set_yticks(range(len(layers)), [short(name) for name in names])
    left.set_ylim(len(layers) - 0.4, -0.6)
    for axes in pair:
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])


def _histogram(axes: Any, layer: LayerRow, name: str) -> None:
    """Bars of the counts without zero's, which would press all others flat."""
    others = [(value, count) for value, count in layer.histogram if value != 0]
    largest = max((count for _, count in others), default=1)
    values = [value for value, _ in others]
    axes.bar(values, [count for _, count in others], width=1.0, color=COLOURS["stage"])
    # A stroke at zero that leaves the picture: there are more than it can show.
    axes.bar([0], [largest * 1.25], width=1.0, color=COLOURS["muted"], alpha=0.35)
    axes.set_ylim(0, largest * 1.25)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    reach = max(8, *map(abs, values)) if values else 8
    axes.set_xlim(-reach - 1, reach + 1)
    axes.set_title(short(name, 20), loc="left", fontsize=8, fontweight="bold")
    axes.set_title(f"{layer.sparsity:.0%} zeros", loc="right", fontsize=7.5, color=COLOURS["muted"])
