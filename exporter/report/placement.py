"""Places names beside marks so that none covers another name or a mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from exporter.report.svg import COLOURS

__all__ = ["Placement"]

_MARK_PX: Final = 7.0
_RINGS_PX: Final = (11.0, 18.0, 26.0, 36.0, 48.0, 62.0, 80.0, 100.0)
_DIRECTIONS: Final = (
    *((0, 1), (0, -1), (1, 0), (-1, 0)),
    *((1, 1), (-1, 1), (1, -1), (-1, -1)),
    *((0.5, 1), (-0.5, 1), (0.5, -1), (-0.5, -1)),
)
_LINE_STEP_PX: Final = 5.0
_FAR_PX: Final = 18.0
_FONT_SIZE: Final = 8

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """Where a name may stand: its middle, its box with a margin, the line to it from its mark."""

    middle: tuple[float, float]
    box: Box
    end: tuple[float, float]
    leader: tuple[Box, ...]


class Placement:
    """Greedy: each name takes the nearest free place around its mark.

    Args:
        axes: laid out, so that its data coordinates are final.
        marks: where every mark is, in display coordinates; no name will cover one.
    """

    def __init__(self, axes: Any, marks: Sequence[tuple[float, float]]) -> None:
        self._axes = axes
        self._renderer = axes.figure.canvas.get_renderer()
        bounds = axes.get_window_extent(self._renderer)
        self._inside: Box = (bounds.x0, bounds.y0, bounds.x1, bounds.y1)
        self._taken: list[Box] = [_box(x, y, _MARK_PX, _MARK_PX) for x, y in marks]

    def keep_clear(self, corners: Sequence[tuple[float, float]]) -> None:
        """Let no name cover the line through these points, in display coordinates."""
        for start, end in pairwise(corners):
            self._taken += _along(start, end)

    def write(self, text: str, x: float, y: float, colour: str) -> None:
        """Write a name near a mark, with a thin line to it where they stand apart."""
        width, height = self._size(text)
        candidates = list(_around(x, y, width, height))
        # A line that crosses another is better than names that cover each other.
        place = (
            next(filter(self._free, candidates), None)
            or next(filter(self._readable, candidates), None)
            or candidates[0]
        )
        self._taken.append(place.box)
        self._taken += place.leader
        to_data = self._axes.transData.inverted().transform
        if place.leader:
            ends = to_data([(x, y), place.end])
            self._axes.plot(*zip(*ends, strict=True), color=COLOURS["muted"], lw=0.6, zorder=1)
        at = to_data(place.middle)
        self._axes.text(*at, text, ha="center", va="center", fontsize=_FONT_SIZE, color=colour)

    def _size(self, text: str) -> tuple[float, float]:
        artist = self._axes.text(0, 0, text, fontsize=_FONT_SIZE)
        extent = artist.get_window_extent(self._renderer)
        artist.remove()
        return extent.width, extent.height

    def _readable(self, place: Place) -> bool:
        """Whether the name itself stands free, whatever its line crosses."""
        return self._free(replace(place, leader=()))

    def _free(self, place: Place) -> bool:
        left, low, right, high = self._inside
        box = place.box
        if box[0] < left or box[1] < low or box[2] > right or box[3] > high:
            return False
        boxes = (box, *place.leader)
        return not any(_overlap(one, other) for one in boxes for other in self._taken)


def _around(x: float, y: float, width: float, height: float) -> Iterator[Place]:
    """Places for a box around a point, nearest first: above, below, beside it, then between."""
    for ring in _RINGS_PX:
        for across, up in _DIRECTIONS:
            middle = (x + across * (ring + width / 2), y + up * (ring + height / 2))
            box = _box(*middle, width / 2, height / 2)
            end = (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))
            leader = tuple(_along((x, y), end)) if ring >= _FAR_PX else ()
            yield Place(middle, _box(*middle, width / 2 + 2, height / 2 + 2), end, leader)


def _along(start: tuple[float, float], end: tuple[float, float]) -> Iterator[Box]:
    """Small boxes along a line, without those that lie under the mark at its start."""
    (x0, y0), (x1, y1) = start, end
    steps = int(max(abs(x1 - x0), abs(y1 - y0)) / _LINE_STEP_PX) + 1
    for step in range(steps + 1):
        x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
        if max(abs(x - x0), abs(y - y0)) > _MARK_PX:
            yield _box(x, y, 1, 1)


def _box(x: float, y: float, half_width: float, half_height: float) -> Box:
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
