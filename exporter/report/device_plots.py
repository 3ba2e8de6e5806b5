"""The report's picture of devices side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from exporter.gate.units import MILLISECONDS
from exporter.report.plots import Run
from exporter.report.svg import COLOURS, drawing, inline_svg, short

__all__ = ["device_bars"]

_WIDTH_IN: Final = 4.7
_ROW_IN: Final = 0.3
_LONGEST: Final = 30


def device_bars(runs: Sequence[Run]) -> Markup | None:
    """A bar to the median and a line to p90 for each file on each device; None for one device."""
    names = list(dict.fromkeys(run.device for run in runs))
    if len(names) < 2:
        return None
    # Together what a reader compares: the same file, one device under the other.
    order = sorted(range(len(runs)), key=lambda at: (runs[at].name, names.index(runs[at].device)))
    rows = [runs[at] for at in order]
    with drawing(_WIDTH_IN, 0.7 + _ROW_IN * len(rows)) as figure:
        axes = figure.subplots()
        for place, run in enumerate(rows):
            colour = COLOURS[run.colour]
            axes.barh(place, run.p50_ms, height=0.55, color=colour, alpha=0.85)
            axes.plot([run.p50_ms, run.p90_ms], [place, place], color=COLOURS["ink"], linewidth=1)
            axes.annotate(
                MILLISECONDS.format(run.p50_ms),
                (max(run.p50_ms, run.p90_ms), place),
                xytext=(5, 0),
                textcoords="offset points",
                verticalalignment="center",
                fontsize=8,
            )
        axes.set_yticks(
            range(len(rows)), [short(f"{run.device}: {run.name}", _LONGEST) for run in rows]
        )
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, max(max(run.p50_ms, run.p90_ms) for run in rows) * 1.25)
        axes.set_xlabel("time of one inference, ms")
        return inline_svg(figure, "devices", "Median and p90 of every file on every device")
