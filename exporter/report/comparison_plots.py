"""The pictures of one build beside another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from exporter.gate.turns import TurnRow
from exporter.gate.verdict import LayerChange
from exporter.report.svg import COLOURS, drawing, inline_svg, short, telling

__all__ = ["layer_changes", "ratios"]

_WIDTH_IN: Final = 4.7
_MOST_LAYERS: Final = 30
_MOST_ROWS: Final = 8


def ratios(rows: Sequence[TurnRow]) -> Markup | None:
    """Each round's change from the baseline, one line of marks a file; left of zero is faster."""
    rows = [row for row in rows if row.new_ms][:_MOST_ROWS]
    if not rows:
        return None
    with drawing(_WIDTH_IN, 0.75 + 0.4 * len(rows)) as figure:
        axes = figure.subplots()
        reach = 1.0
        for place, row in enumerate(rows):
            changes = [
                (new / old - 1) * 100 for new, old in zip(row.new_ms, row.baseline_ms, strict=True)
            ]
            reach = max(reach, _reach(changes))
            colour = COLOURS["tflite" if row.artifact.endswith(".tflite") else "onnx"]
            middle = sorted(changes)[len(changes) // 2]
            axes.plot(changes, [place] * len(changes), "o", ms=4, color=colour, alpha=0.35)
            axes.plot([middle], [place], "|", ms=16, mew=2, color=COLOURS["ink"])
        axes.axvline(0, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (3, 2)))
        axes.set_xlim(-reach, reach)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [short(row.artifact) for row in rows])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("time of a round against the baseline's, %")
        return inline_svg(figure, "turns", "Each round's change from the baseline, by file")


def _reach(changes: Sequence[float]) -> float:
    """Where nine in ten rounds lie, with room: single wild rounds would press the rest flat."""
    sizes = sorted(map(abs, changes))
    return sizes[int(len(sizes) * 0.9)] * 1.3 if sizes else 1.0


def layer_changes(changes: Sequence[LayerChange]) -> Markup | None:
    """Bars of the packed bytes that each layer grew or shrank by, and its change in zeros."""
    largest = sorted(changes, key=lambda change: -abs(change.packed_growth))[:_MOST_LAYERS]
    if not largest:
        return None
    largest = sorted(largest, key=lambda change: -change.packed_growth)
    with drawing(_WIDTH_IN, 0.75 + 0.2 * len(largest)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for axes, values, label in (
            (left, [change.packed_growth / 1e3 for change in largest], "packed, kB"),
            (
                right,
                [((c.sparsity or 0) - (c.baseline_sparsity or 0)) * 100 for c in largest],
                "zeros, points",
            ),
        ):
            colours = [COLOURS["tflite" if value > 0 else "stage"] for value in values]
            if axes is right:
                colours = [COLOURS["onnx"]] * len(values)
            axes.barh(range(len(values)), values, height=0.62, color=colours)
            axes.axvline(0, color=COLOURS["muted"], linewidth=0.8)
            axes.set_xlabel(label)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        names = telling([change.layer for change in largest])
        left.set_yticks(range(len(largest)), [short(name) for name in names])
        left.set_ylim(len(largest) - 0.4, -0.6)
        return inline_svg(figure, "changes", "How far each layer grew or shrank, and its zeros")
