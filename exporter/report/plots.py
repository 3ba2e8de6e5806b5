"""The report's pictures. Each takes plain data and gives inline SVG, None where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from markupsafe import Markup

from exporter.gate.text import printable
from exporter.gate.units import BYTES, MILLISECONDS
from exporter.report.layers import LayerRow
from exporter.report.placement import Placement
from exporter.report.svg import COLOURS, drawing, inline_svg

__all__ = [
    "MOST_LAYERS",
    "MOST_RUNS",
    "Point",
    "Run",
    "accuracy_by_size",
    "heaviest",
    "latency",
    "layer_bars",
    "memory",
]

MOST_LAYERS: Final = 40
MOST_RUNS: Final = 12

_WIDTH_IN: Final = 4.7
_BAR_IN: Final = 0.2
_LONGEST_NAME: Final = 26
_LONGEST_RUN: Final = 32
_LONGEST_TITLE: Final = 44
_MARKERS: Final = {"stage": "o", "file": "D", "package": "s"}


@dataclass(frozen=True)
class Point:
    """One stage or file in the plane of size (bytes) and accuracy (in [0, 1])."""

    name: str
    size_bytes: float
    accuracy: float
    kind: Literal["stage", "file", "package"]
    colour: str


@dataclass(frozen=True)
class Run:
    """One measurement: a file in one runtime on one device. Times in ms, memory in bytes."""

    name: str
    colour: str
    samples_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    before_bytes: int
    loaded_bytes: int
    peak_bytes: int
    steady: bool = True


def accuracy_by_size(points: Sequence[Point]) -> Markup | None:
    """Accuracy against size: up and to the left is better."""
    points = [point for point in points if point.size_bytes > 0]
    if not points:
        return None
    with drawing(_WIDTH_IN, 3.3) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        _join(axes, points)
        for point in points:
            axes.plot(
                point.size_bytes,
                point.accuracy * 100,
                marker=_MARKERS[point.kind],
                markersize=6.5,
                color=COLOURS[point.colour],
                markeredgecolor=COLOURS["page"],
                markeredgewidth=0.8,
            )
        _frame(axes, points)
        _label(figure, axes, points)
        return inline_svg(figure, "accuracy", "Accuracy against size of every stage and file")


def latency(runs: Sequence[Run]) -> Markup | None:
    """One histogram a measurement, all on one axis of time."""
    runs = [run for run in runs if run.samples_ms][:MOST_RUNS]
    if not runs:
        return None
    end = max(map(_edge, runs)) or 1.0
    with drawing(_WIDTH_IN, 0.6 + 0.8 * len(runs)) as figure:
        rows = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
        for axes, run in zip(rows, runs, strict=True):
            _histogram(axes, run, end)
        rows[-1].set_xlabel("time of one inference, ms")
        rows[-1].set_xlim(0, end)
        return inline_svg(figure, "latency", "How long single inferences took, by file")


def memory(runs: Sequence[Run]) -> Markup | None:
    """Bars of the process's memory: before the file, with it loaded, at its peak."""
    runs = [run for run in runs if run.peak_bytes > 0][:MOST_RUNS]
    if not runs:
        return None
    with drawing(_WIDTH_IN, 0.7 + 0.36 * len(runs)) as figure:
        axes = figure.subplots()
        for place, run in enumerate(runs):
            _memory_bar(axes, place, run)
        axes.set_yticks(range(len(runs)), [_short(run.name, _LONGEST_RUN) for run in runs])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlim(0, max(run.peak_bytes for run in runs) / 1e6 * 1.22)
        axes.set_xlabel("memory of the process, MB")
        return inline_svg(figure, "memory", "Memory before, after loading and at the peak")


def layer_bars(layers: Sequence[LayerRow]) -> Markup | None:
    """Two rows of bars over the same layers: their bytes, and their share of zeros."""
    layers = heaviest(layers, MOST_LAYERS)
    if not layers:
        return None
    with drawing(_WIDTH_IN, 0.75 + _BAR_IN * len(layers)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = range(len(layers))
        left.barh(
            places,
            [layer.bytes / 1e3 for layer in layers],
            height=0.62,
            color=COLOURS["stage"],
            alpha=0.35,
            label="in the file",
        )
        left.barh(
            places,
            [layer.entropy_bytes / 1e3 for layer in layers],
            height=0.62,
            color=COLOURS["stage"],
            label="at its entropy",
        )
        left.set_xlabel("kB")
        left.set_yticks(places, [_short(layer.name) for layer in layers])
        left.set_ylim(len(layers) - 0.4, -0.6)
        right.barh(
            places,
            [layer.sparsity * 100 for layer in layers],
            height=0.62,
            color=COLOURS["onnx"],
        )
        right.set_xlim(0, 100)
        right.set_xlabel("zeros, %")
        for axes in (left, right):
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        return inline_svg(figure, "layers", "Bytes and share of zeros of each layer")


def heaviest(layers: Sequence[LayerRow], most: int) -> list[LayerRow]:
    """The layers with the most bytes, in the order of the model."""
    kept = sorted(range(len(layers)), key=lambda place: -layers[place].bytes)[:most]
    return [layers[place] for place in sorted(kept)]


def _short(name: str, most: int = _LONGEST_NAME) -> str:
    """A name that leaves room for the bars: its ends tell layers apart, so its middle goes."""
    name = printable(name)
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


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
        [start.size_bytes, end.size_bytes],
        [start.accuracy * 100, end.accuracy * 100],
        color=COLOURS[end.colour],
        **style,
    )


def _frame(axes: Any, points: Sequence[Point]) -> None:
    """Limits with room for names, at least one point of accuracy high: noise must look small."""
    from matplotlib.ticker import LogLocator, NullLocator

    sizes = [point.size_bytes for point in points]
    shares = [point.accuracy * 100 for point in points]
    spare = max(0.0, 1.0 - (max(shares) - min(shares))) / 2
    height = max(shares) - min(shares) + 2 * spare
    axes.set_xlim(min(sizes) / 2.2, max(sizes) * 2.2)
    axes.set_ylim(min(shares) - spare - 0.22 * height, max(shares) + spare + 0.22 * height)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: BYTES.format_exact(round(value)))
    decimals = 1 if height < 6 else 0
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.{decimals}f} %")
    axes.set_xlabel("size (logarithmic)")
    axes.set_ylabel("accuracy")


def _label(figure: Any, axes: Any, points: Sequence[Point]) -> None:
    figure.draw_without_rendering()  # lays the axes out, so that places are final
    at = [axes.transData.transform((point.size_bytes, point.accuracy * 100)) for point in points]
    placement = Placement(axes, at)
    for line in axes.get_lines():
        placement.keep_clear(axes.transData.transform(line.get_xydata()))
    for point, (x, y) in zip(points, at, strict=True):
        text = f"{point.name}, packed" if point.kind == "package" else point.name
        placement.write(_short(text, _LONGEST_TITLE), x, y, COLOURS[point.colour])


def _edge(run: Run) -> float:
    """Up to where a run is drawn, in ms.

    The rare slow inference would press all the others into one bar: it is counted, not drawn.
    """
    drawn = max(run.p99_ms, run.p90_ms * 1.05)
    return (drawn if math.isfinite(drawn) else max(run.samples_ms)) * 1.05


def _histogram(axes: Any, run: Run, end: float) -> None:
    drawn = [sample for sample in run.samples_ms if sample <= end]
    axes.hist(
        drawn, bins=90, range=(0, end), color=COLOURS[run.colour], alpha=0.75, histtype="stepfilled"
    )
    axes.grid(visible=False, axis="y")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for time_ms in (run.p50_ms, run.p90_ms):
        axes.axvline(time_ms, color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (3, 2)))
    name = run.name if run.steady else f"{run.name}, not steady"
    axes.set_title(_short(name, _LONGEST_TITLE), loc="left", fontsize=8.5, fontweight="bold")
    beyond = len(run.samples_ms) - len(drawn)
    more = f", {beyond} beyond the edge" if beyond else ""
    p50, p90 = MILLISECONDS.format(run.p50_ms), MILLISECONDS.format(run.p90_ms)
    axes.set_title(f"p50 {p50}, p90 {p90}{more}", loc="right", fontsize=8, color=COLOURS["muted"])


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
