"""The report's pictures. Each takes plain data and gives inline SVG, None where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from markupsafe import Markup

from exporter.gate.units import BYTES, MILLISECONDS, Quantity
from exporter.report.placement import Placement
from exporter.report.svg import COLOURS, drawing, inline_svg, short

__all__ = [
    "MOST_RUNS",
    "Point",
    "Run",
    "accuracy_by_latency",
    "accuracy_by_size",
    "latency",
    "memory",
]

MOST_RUNS: Final = 12

_WIDTH_IN: Final = 4.7
_LONGEST_RUN: Final = 32
_LONGEST_TITLE: Final = 30
_BINS: Final = 110
_MARKERS: Final = {"stage": "o", "file": "D", "package": "s"}


@dataclass(frozen=True)
class Point:
    """One stage or file: its accuracy in [0, 1] against `x`, a size in bytes or a time in ms."""

    name: str
    x: float
    accuracy: float
    kind: Literal["stage", "file", "package"]
    colour: str


@dataclass(frozen=True)
class Run:
    """One measurement: a file in one runtime on one device. Times in ms, memory in bytes."""

    name: str
    device: str
    colour: str
    samples_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    before_bytes: int
    loaded_bytes: int
    peak_bytes: int
    steady: bool = True
    doubt: str = ""


def accuracy_by_size(points: Sequence[Point]) -> Markup | None:
    """Accuracy against size: up and to the left is better."""
    return _scatter(points, BYTES, "size (logarithmic)", "accuracy")


def accuracy_by_latency(points: Sequence[Point]) -> Markup | None:
    """Accuracy against the median time of one inference: up and to the left is better."""
    return _scatter(points, MILLISECONDS, "median time of one inference (logarithmic)", "speed")


def _scatter(points: Sequence[Point], quantity: Quantity, label: str, name: str) -> Markup | None:
    points = [point for point in points if point.x > 0]
    if not points:
        return None
    with drawing(_WIDTH_IN, 3.3) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        _join(axes, points)
        for point in points:
            axes.plot(
                point.x,
                point.accuracy * 100,
                marker=_MARKERS[point.kind],
                markersize=6.5,
                color=COLOURS[point.colour],
                markeredgecolor=COLOURS["page"],
                markeredgewidth=0.8,
            )
        _frame(axes, points, quantity)
        axes.set_xlabel(label)
        _label(figure, axes, points)
        against = "size" if quantity is BYTES else "latency"
        return inline_svg(figure, name, f"Accuracy against {against} of every stage and file")


def latency(runs: Sequence[Run], place: int = 0) -> Markup | None:
    """One histogram a measurement, all on one axis of time; `place` tells pictures apart."""
    runs = [run for run in runs if any(sample > 0 for sample in run.samples_ms)][:MOST_RUNS]
    if not runs:
        return None
    start, end = _span(runs)
    with drawing(_WIDTH_IN, 0.6 + 0.8 * len(runs)) as figure:
        rows = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
        for axes, run in zip(rows, runs, strict=True):
            axes.set_xscale("log")  # fast and slow files then show their spread alike
            _histogram(axes, run, start, end)
        _time_axis(rows[-1], start, end)
        return inline_svg(figure, f"latency{place}", "How long single inferences took, by file")


def _time_axis(axes: Any, start: float, end: float) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xlim(start, end)
    fine = (1, 1.5, 2, 3, 5, 7) if end / start < 10 else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=fine))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda ms, _: MILLISECONDS.format_exact(float(f"{ms:.3g}")))
    axes.set_xlabel("time of one inference (logarithmic)")


def memory(runs: Sequence[Run], place: int = 0) -> Markup | None:
    """Bars of the process's memory: before the file, with it loaded, at its peak."""
    runs = [run for run in runs if run.peak_bytes > 0][:MOST_RUNS]
    if not runs:
        return None
    with drawing(_WIDTH_IN, 0.7 + 0.36 * len(runs)) as figure:
        axes = figure.subplots()
        for bar, run in enumerate(runs):
            _memory_bar(axes, bar, run)
        axes.set_yticks(range(len(runs)), [short(run.name, _LONGEST_RUN) for run in runs])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, max(run.peak_bytes for run in runs) / 1e6 * 1.22)
        axes.set_xlabel("memory of the process, MB")
        return inline_svg(figure, f"memory{place}", "Memory before, after loading and at the peak")


def _join(axes: Any, points: Sequence[Point]) -> None:
    """A line along the stages, and a dotted one from each file to its package."""
    stages = [point for point in points if point.kind == "stage"]
    for before, after in pairwise(stages):
        _segment(axes, before, after, linewidth=1, alpha=0.6)
    files = {point.name: point for point in points if point.kind == "file"}
    for point in points:
        if point.kind == "package" and point.name in files:
            _segment(axes, files[point.name], point, linewidth=1.1, linestyle=":")


def _segment(axes: Any, start: Point, end: Point, **style: Any) -> None:
    axes.plot(
        [start.x, end.x],
        [start.accuracy * 100, end.accuracy * 100],
        color=COLOURS[end.colour],
        **style,
    )


def _frame(axes: Any, points: Sequence[Point], quantity: Quantity) -> None:
    """Limits with room for names, at least one point of accuracy high: noise must look small."""
    from matplotlib.ticker import LogLocator, NullLocator

    sizes = [point.x for point in points]
    shares = [point.accuracy * 100 for point in points]
    spare = max(0.0, 1.0 - (max(shares) - min(shares))) / 2
    height = max(shares) - min(shares) + 2 * spare
    axes.set_xlim(min(sizes) / 2.2, max(sizes) * 2.2)
    axes.set_ylim(min(shares) - spare - 0.22 * height, max(shares) + spare + 0.22 * height)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    whole = quantity.whole
    axes.xaxis.set_major_formatter(
        lambda value, _: quantity.format_exact(round(value) if whole else float(f"{value:.6g}"))
    )
    decimals = 1 if height < 6 else 0
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.{decimals}f} %")
    axes.set_ylabel("accuracy")


def _label(figure: Any, axes: Any, points: Sequence[Point]) -> None:
    figure.draw_without_rendering()  # lays the axes out, so that places are final
    at = [axes.transData.transform((point.x, point.accuracy * 100)) for point in points]
    placement = Placement(axes, at)
    for line in axes.get_lines():
        placement.keep_clear(axes.transData.transform(line.get_xydata()))
    for point, (x, y) in zip(points, at, strict=True):
        text = f"{point.name}, packed" if point.kind == "package" else point.name
        placement.write(short(text, _LONGEST_TITLE), x, y, COLOURS[point.colour])


def _span(runs: Sequence[Run]) -> tuple[float, float]:
    """From where to where times are drawn, in ms.

    The rare slow inference would press all the others into one bar: it is counted, not drawn.
    """
    fastest = min(sample for run in runs for sample in run.samples_ms if sample > 0)
    ends = [max(run.p99_ms, run.p90_ms * 1.05) for run in runs]
    slowest = max((end for end in ends if math.isfinite(end) and end > 0), default=fastest)
    return fastest / 1.2, max(slowest, fastest) * 1.2


def _histogram(axes: Any, run: Run, start: float, end: float) -> None:
    drawn = [sample for sample in run.samples_ms if start <= sample <= end]
    step = (end / start) ** (1 / _BINS)
    edges = [start * step**place for place in range(_BINS + 1)]
    axes.hist(drawn, bins=edges, color=COLOURS[run.colour], alpha=0.75, histtype="stepfilled")
    axes.grid(visible=False, axis="y")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for time_ms in (run.p50_ms, run.p90_ms):
        axes.axvline(time_ms, color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (3, 2)))
    axes.set_title(short(run.name, _LONGEST_TITLE), loc="left", fontsize=8.5, fontweight="bold")
    p50, p90 = MILLISECONDS.format(run.p50_ms), MILLISECONDS.format(run.p90_ms)
    parts = [f"p50 {p50}, p90 {p90}"]
    beyond = len(run.samples_ms) - len(drawn)
    parts += [f"{beyond} beyond"] if beyond else []
    parts += [] if run.steady else ["not steady"]
    axes.set_title("; ".join(parts), loc="right", fontsize=7.5, color=COLOURS["muted"])


def _memory_bar(axes: Any, place: int, run: Run) -> None:
    steps = (
        (0, run.before_bytes, 0.25),
        (run.before_bytes, run.loaded_bytes, 0.6),
        (max(run.before_bytes, run.loaded_bytes), run.peak_bytes, 1.0),
    )
    for start, end, alpha in steps:
        width = max(0, end - start) / 1e6
        axes.barh(
            place, width, left=start / 1e6, height=0.58, color=COLOURS[run.colour], alpha=alpha
        )
    axes.annotate(
        BYTES.format(run.peak_bytes),
        (run.peak_bytes / 1e6, place),
        xytext=(5, 0),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=8,
    )
