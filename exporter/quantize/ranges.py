"""Ranges of activations by calibration.

Methods, each over the values that share a scale, taken together:

- minmax: the smallest and the largest value that came.
- percentile: all but `TAIL` of the values at either end.
- mse: the range whose int8 steps give the smallest mean squared error, clipping included.
- kl: the range whose quantized distribution tells most of the original one (S. Migacz, "8-bit
  Inference with TensorRT", GTC 2017), for affine scales: both ends are searched.

Only minmax holds all of an outlier; the others trade it for finer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import numpy as np
import torch
from torch.fx import GraphModule, Interpreter, Node

from exporter.quantize.groups import Group, Plan
from exporter.quantize.histograms import Histogram

Method = Literal["minmax", "percentile", "mse", "kl"]
Range = tuple[float, float]
Ranges = dict[str, Range]
"""Smallest and largest value by node name."""

STEPS: Final = 255
TAIL: Final = 1e-5
"""Share of values outside the percentile range, at either end: 99.999 %, as ONNX Runtime has it."""

SHRINKS: Final = np.linspace(1.0, 0.1, 91)
"""Candidates for an end of a range, as shares of the end that came."""

AT_ONCE: Final = 2
"""Samples that are computed at once: more take more memory, and are no faster."""

MINIMUM_BINS: Final = 128
"""Fewer bins than this make no distribution that could be compared (kl)."""


class _Recorder(Interpreter):
    """Runs a graph and shows the values of the nodes of a plan to `see`."""

    def __init__(
        self, graph_module: GraphModule, plan: Plan, see: Callable[[str, torch.Tensor], None]
    ) -> None:
        super().__init__(graph_module)
        self.wanted = set(plan.group_of)
        self.see = see

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        if n in self.wanted and isinstance(result, torch.Tensor):
            self.see(n.name, result)
        return result


def measure_ranges(
    graph_module: GraphModule,
    plan: Plan,
    batches: Iterable[torch.Tensor],
    method: Method = "minmax",
) -> Ranges:
    """A range for every planned node, zero included.

    Args:
        graph_module: the graph that the plan was made of.
        plan: its values.
        batches: inputs [N, ...] as the graph takes them.
        method: how outliers are weighed.

    Raises:
        ValueError: no batch was given, or a value is not finite (its node is named).
    """
    if method == "minmax":
        return _extremes(graph_module, plan, batches)
    histograms = measure_histograms(graph_module, plan, batches)
    ranges: Ranges = {}
    for group in plan.groups:
        found = choose_range(group_histogram(group, histograms), method)
        ranges |= dict.fromkeys((node.name for node in group.members), found)
    return ranges


def measure_histograms(
    graph_module: GraphModule, plan: Plan, batches: Iterable[torch.Tensor]
) -> dict[str, Histogram]:
    """A histogram of every planned node; raises as `measure_ranges` does."""
    histograms: dict[str, Histogram] = {}

    def see(name: str, values: torch.Tensor) -> None:
        try:
            histograms.setdefault(name, Histogram()).add(values)
        except ValueError:
            raise _not_finite(name) from None

    _run(graph_module, plan, batches, see)
    return histograms


def group_histogram(group: Group, histograms: dict[str, Histogram]) -> Histogram:
    """All values of a group in one histogram."""
    merged = Histogram()
    for node in group.members:
        merged.merge(histograms[node.name])
    return merged


def choose_range(histogram: Histogram, method: Method) -> Range:
    """The range that a method takes, zero included."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if method == "minmax" or not histogram.width:
        return low, high
    centres, counts = histogram.bins()
    if method == "percentile":
        return _percentile(centres, counts, (low, high))
    loss = mean_squared_error if method == "mse" else divergence
    if method == "kl" and len(centres) < MINIMUM_BINS:
        return low, high
    return _search(lambda ends: loss(centres, counts, ends), (low, high))


def _percentile(centres: np.ndarray, counts: np.ndarray, ends: Range) -> Range:
    cumulated = np.cumsum(counts) / counts.sum()
    first, last = (int(np.searchsorted(cumulated, share)) for share in (TAIL, 1.0 - TAIL))
    lowest, highest = centres[first], centres[min(last, len(centres) - 1)]
    return max(ends[0], min(float(lowest), 0.0)), min(ends[1], max(float(highest), 0.0))


def _search(loss: Callable[[Range], float], ends: Range) -> Range:
    """Shrink one end, then the other, then the first again: the best of all that were tried."""
    low, high = ends
    for _ in range(2):
        if high > 0:
            high = min(ends[1] * SHRINKS, key=lambda end: loss((low, float(end))))
        if low < 0:
            low = min(ends[0] * SHRINKS, key=lambda end: loss((float(end), high)))
    return float(low), float(high)


def mean_squared_error(centres: np.ndarray, counts: np.ndarray, ends: Range) -> float:
    """Mean squared error of int8 with this range, over the values of a histogram."""
    low, high = ends
    scale = (high - low) / STEPS
    if scale <= 0:
        return float((counts * centres**2).sum() / counts.sum())
    zero = np.round(-low / scale)
    rounded = (np.clip(np.round(centres / scale) + zero, 0, STEPS) - zero) * scale
    return float((counts * (rounded - centres) ** 2).sum() / counts.sum())


def divergence(centres: np.ndarray, counts: np.ndarray, ends: Range) -> float:
    """KL divergence, in nats, of the int8 distribution with this range from the original one.

    As Migacz has it: what lies outside counts to the outermost bins of the reference; the int8
    distribution spreads each step's mass evenly over those of its bins that hold anything. Zero
    has an integer of its own whatever the range, so the spike that a ReLU makes there is levelled:
    it would favour narrow ranges.
    """
    low, high = ends
    scale = (high - low) / STEPS
    if scale <= 0:
        return float("inf")
    inside = (centres >= low) & (centres <= high)
    if inside.sum() < MINIMUM_BINS:
        return float("inf")
    kept = counts[inside].astype(np.float64)
    spike = int(np.argmin(np.abs(centres[inside])))
    kept[spike] = min(kept[spike], np.delete(kept, spike)[max(spike - 1, 0) : spike + 1].mean())
    reference = kept.copy()
    reference[0] += counts[centres < low].sum()
    reference[-1] += counts[centres > high].sum()
    steps = np.round((centres[inside] - low) / scale).astype(np.int64)
    mass = np.bincount(steps, kept, STEPS + 1) / np.maximum(np.bincount(steps, None, STEPS + 1), 1)
    spread = mass[steps]
    reference, spread = reference / reference.sum(), spread / spread.sum()
    return float((reference * np.log(reference / spread)).sum())


def _extremes(graph_module: GraphModule, plan: Plan, batches: Iterable[torch.Tensor]) -> Ranges:
    ranges: Ranges = {}

    def see(name: str, values: torch.Tensor) -> None:
        low, high = (float(end) for end in torch.aminmax(values))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise _not_finite(name)
        known = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(known[0], low), max(known[1], high)

    _run(graph_module, plan, batches, see)
    return ranges


def _run(
    graph_module: GraphModule,
    plan: Plan,
    batches: Iterable[torch.Tensor],
    see: Callable[[str, torch.Tensor], None],
) -> None:
    recorder = _Recorder(graph_module, plan, see)
    count = 0
    with torch.no_grad():
        for batch in batches:
            for samples in batch.split(AT_ONCE):
                recorder.run(samples)
                count += 1
    if not count:
        raise ValueError("calibration needs at least one batch of inputs")


def _not_finite(name: str) -> ValueError:
    return ValueError(f"calibration met a value that is not finite, at {name}")
