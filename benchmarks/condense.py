"""Results with many rows of a kind, as a person reads them: one row for what belongs together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from benchmarks.results import Value

Row = Mapping[str, Value]


def across_cpus(rows: Sequence[Row]) -> list[Row]:
    """One row a network: below each CPU the values that differ there, or why it did not run."""
    found: list[Row] = []
    for group in _groups(rows, ("network", "size", "samples", "values")):
        shared = {key: group[0][key] for key in ("network", "size", "samples", "values")}
        found.append(shared | {str(row["cpu"]): row["failed"] or row["differing"] for row in group})
    return found


def across_draws(rows: Sequence[Row]) -> list[Row]:
    """One row for all draws of samples: the median of every figure."""
    names = ("network", "samples", "biases")
    found: list[Row] = []
    for group in _groups(rows, names):
        shared = {key: group[0][key] for key in names} | {"draws": len(group)}
        figures = [key for key in group[0] if key not in (*names, "draw")]
        found.append(shared | {key: _median(row[key] for row in group) for key in figures})
    return found


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> list[list[Row]]:
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.values())


def _median(values: Iterable[Value]) -> Value:
    numbers = [value for value in values if isinstance(value, int | float)]
    return median(numbers) if numbers else None


CONDENSED: Final[dict[str, Callable[[Sequence[Row]], list[Row]]]] = {
    "bias_correction": across_draws,
    "cpus": across_cpus,
}
"""By the name of a benchmark; the others are shown row for row."""
