"""The page of a history: size, accuracy and latency over releases, one line a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from exporter.gate.units import BYTES, MILLISECONDS, SHARE, Quantity
from exporter.history import Release, ReleaseFile
from exporter.report.page import render_page
from exporter.report.summary import is_float, runtime_of
from exporter.report.svg import COLOURS, drawing, inline_svg, short

__all__ = ["write_history"]

_WIDTH_IN: Final = 4.7
_COLOURS: Final = {"TFLite": "tflite", "ONNX Runtime": "onnx"}

Value = Callable[[ReleaseFile], float | None]


def write_history(releases: Sequence[Release], path: Path) -> Path:
    """Write the page; gives its path.

    Raises:
        MissingRuntimeError: matplotlib or jinja2 is not installed.
    """
    names = dict.fromkeys(release.name for release in releases)
    builds = []
    for place, name in enumerate(names):
        ours = [release for release in releases if release.name == name]
        builds.append({"name": name, "releases": ours, "plots": _plots(ours, place)})
    return render_page("history.html.j2", {"builds": builds}, path)


def _plots(releases: Sequence[Release], place: int) -> list[tuple[str, Markup]]:
    pictures = (
        ("Download", "size", BYTES, lambda file: file.package_bytes or file.file_bytes),
        ("Accuracy", "accuracy", SHARE, lambda file: file.accuracy),
        ("Median time of one inference", "latency", MILLISECONDS, lambda file: file.p50_ms),
    )
    drawn = [
        (title, _lines(releases, f"{name}{place}", title, quantity, value))
        for title, name, quantity, value in pictures
    ]
    return [(title, picture) for title, picture in drawn if picture is not None]


def _lines(
    releases: Sequence[Release], name: str, title: str, quantity: Quantity, value: Value
) -> Markup | None:
    """One line a file over the releases; the last value is written at its end."""
    series = _series(releases, value)
    if not series:
        return None
    with drawing(_WIDTH_IN, 2.2) as figure:
        axes = figure.subplots()
        for place, (label, points) in enumerate(series.items()):
            colour = COLOURS[_COLOURS[runtime_of(label)]]
            xs, ys = zip(*points, strict=True)
            # The files often have one accuracy: the first line is seen on both sides of the next.
            size = 4 + 2.5 * (len(series) - 1 - place)
            axes.plot(xs, ys, marker="o", ms=size, lw=0.3 * size, color=colour, label=short(label))
        _frame(axes, releases, series, quantity)
        return inline_svg(figure, name, f"{title} over releases")


def _series(releases: Sequence[Release], value: Value) -> dict[str, list[tuple[int, float]]]:
    series: dict[str, list[tuple[int, float]]] = {}
    for at, release in enumerate(releases):
        for file in release.files:
            amount = None if is_float(file.label) else value(file)
            if amount is not None:
                series.setdefault(file.label, []).append((at, amount))
    return series


def _frame(
    axes: Any,
    releases: Sequence[Release],
    series: dict[str, list[tuple[int, float]]],
    quantity: Quantity,
) -> None:
    """Room above and below: a tenth of a percent must not look like a cliff."""
    from matplotlib.ticker import MaxNLocator

    values = [amount for points in series.values() for _, amount in points]
    low, high = min(values), max(values)
    # An axis at least a tenth as high as its values; accuracy one point, as on the other page.
    least = 0.01 if quantity is SHARE else 0.1 * high
    spare = max(0.0, least - (high - low)) / 2 + 0.12 * (high - low)
    axes.set_ylim(low - spare, high + spare or 1.0)
    # Steps whose multiples three digits tell apart: 14.75 and 15.25 would read 14.8 and 15.2.
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda amount, _: quantity.format(max(0, amount)))
    step = max(1, len(releases) // 8)
    shown = range(0, len(releases), step)
    axes.set_xticks(shown, [f"#{releases[at].id}" for at in shown])
    axes.set_xlim(-0.5, len(releases) - 0.5)
    axes.legend(loc="best")
