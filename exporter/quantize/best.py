"""`ptq = "best"`: try what there is, measure the network's output, keep what is better.

1. Equalization, in several strengths or not at all, for the whole network: channels of all layers
   hang together.
2. The range of each group of values: min/max, or what percentile, mse or kl take, where the
   output's error gets smaller by it, with all other values quantized.
3. Rounding of each layer's weights, where it lowers the layer's own error; and the network's, or
   else all layers stay as they are.

Biases are corrected throughout. What holds for the whole network is measured on calibration samples
that biases, rounding and ranges were not fitted to, as signal to quantization noise of the outputs
(dB); so the ranges of step 2, chosen on a few samples, must prove themselves on others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.adaround import Rounded
from exporter.quantize.channel_classes import Channels
from exporter.quantize.equalize import equalize
from exporter.quantize.fold import Grids
from exporter.quantize.groups import Group, Plan
from exporter.quantize.histograms import Histogram
from exporter.quantize.lockstep import (
    Run,
    constants_of,
    decibels,
    fitting_count,
    outputs,
    twin_of,
)
from exporter.quantize.pairing import pair_channels
from exporter.quantize.plan import assign
from exporter.quantize.qat import ActivationQuantizer, prepare
from exporter.quantize.ranges import (
    Method,
    Range,
    Ranges,
    choose_range,
    group_histogram,
    measure_histograms,
    measure_ranges,
)
from exporter.quantize.refine import refine
from exporter.quantize.samples import Samples
from exporter.quantize.scheme import ActivationScale

STRENGTHS: Final = (0.0, 0.5, 0.75)
ALTERNATIVES: Final[tuple[Method, ...]] = ("percentile", "mse", "kl")
JUDGING: Final = 24
"""Samples that measure, and do not correct."""

CHOOSING_BATCHES: Final = 2
"""Of the samples that biases are fitted to: what ranges are chosen by."""

SAME_RANGE: Final = 0.02
"""Ranges whose width differs by less are one."""

RANGE_GAIN_DB: Final = 0.05
"""What another range must gain by itself: less is chance, on few samples."""

SMALLEST_GAIN_DB: Final = 0.02
"""Less than this is no reason to leave the plain choice."""

Progress = Callable[[str], None]
"""Told what was tried and what it gave."""


@dataclass(frozen=True)
class Trial:
    """One thing that was tried on the whole network, and the error that it gave."""

    name: str
    output_db: float


@dataclass
class Best:
    """What was chosen.

    Attributes:
        prepared: the graph with quantizers, corrected.
        real: its float twin, with channels as it has them.
        plan: its scales.
        strength: of equalization; 0 for none.
        channels: what became of channels.
        output_db: signal to noise of the outputs, over the samples held out.
        trials: what was tried on the network as a whole, in order; the best was kept.
        methods: for each group, by its name, how its range was chosen.
        rounded: what rounding did to each layer; empty where all stayed at the nearest.
        fitting: samples that biases and rounding were fitted to.
        judging: samples held out, which measured.
        cpu_s: processor seconds that the search took.
    """

    prepared: GraphModule
    real: GraphModule
    plan: Plan
    strength: float
    channels: Channels = field(default_factory=Channels)
    output_db: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    methods: dict[str, Method] = field(default_factory=dict)
    rounded: list[Rounded] = field(default_factory=list)
    fitting: list[torch.Tensor] = field(default_factory=list)
    judging: list[torch.Tensor] = field(default_factory=list)
    cpu_s: float = 0.0


class Search:
    """The search for one network.

    Args:
        graph_module: a folded graph, without a plan; left as it is.
        plan: makes the plan of a graph, with `make_plan`.
        batches: samples to calibrate with.
        grids: grids that weights were trained on.
        exact: as in `assign`.
        short_scales: as in `assign`.
        pair_channels: put channels in the order in which the pair rule costs least.
        progress: told of what was tried.
    """

    def __init__(
        self,
        graph_module: GraphModule,
        plan: Callable[[GraphModule], Plan],
        batches: Samples,
        grids: Grids,
        *,
        exact: bool = True,
        short_scales: bool = True,
        pair_channels: bool = False,
        progress: Progress = lambda note: None,
    ) -> None:
        self.graph_module, self.plan = graph_module, plan
        self.batches, self.grids, self.exact = batches, grids, exact
        self.short_scales, self.pairs = short_scales, pair_channels
        self.progress = progress
        self.fitting, self.judging = batches.pick(fitting_count(graph_module), leave=JUDGING)
        self.choosing = self.fitting[:CHOOSING_BATCHES]
        self.expected = outputs(graph_module, self.judging)
        self.trials: list[Trial] = []

    def run(self) -> Best:
        """Try, measure, keep."""
        start = time.process_time()
        best = self._best([found for s in STRENGTHS if (found := self._equalized(s)) is not None])
        minmax, chosen = self._choose_ranges(best)
        rounded = self._finished(best, minmax, rounding=True, name="weights rounded anew")
        best = self._best([best, rounded])
        if chosen:
            methods = {name: method for name, (method, _) in chosen.items()}
            ranges = minmax | {
                node.name: ends
                for name, (_, ends) in chosen.items()
                for node in _group(best.plan, name).members
            }
            rounding = bool(best.rounded)
            name = f"{len(chosen)} ranges of other methods"
            narrowed = self._finished(best, ranges, rounding=rounding, name=name)
            narrowed.methods |= methods
            best = self._best([best, narrowed])
        best.trials, best.fitting, best.judging = self.trials, self.fitting, self.judging
        best.cpu_s = time.process_time() - start
        return best

    def _best(self, found: list[Best]) -> Best:
        """The one with the smallest error; an earlier one unless a later one gains something."""
        best = found[0]
        for other in found[1:]:
            if other.output_db > best.output_db + SMALLEST_GAIN_DB:
                best = other
        return best

    def _equalized(self, strength: float) -> Best | None:
        """The network with min/max ranges and biases corrected; None if nothing can be scaled."""
        real = twin_of(self.graph_module)
        factors: dict[str, torch.Tensor] = {}
        if strength:
            factors = equalize(real, self.batches, self.grids, strength=strength)
            if not factors:
                return None
        channels = Channels(factors, pair_channels(real, self.grids) if self.pairs else {})
        graph_module = twin_of(real)
        plan = self.plan(graph_module)
        ranges = measure_ranges(graph_module, plan, self.batches)
        name = f"equalized, strength {strength:g}" if strength else "min/max, biases corrected"
        return self._corrected(
            Best(graph_module, real, plan, strength, channels), ranges, False, name
        )

    def _finished(self, base: Best, ranges: Ranges, *, rounding: bool, name: str) -> Best:
        """The same network anew, with other ranges or rounding."""
        graph_module = twin_of(base.real)
        plan = self.plan(graph_module)
        fresh = Best(graph_module, base.real, plan, base.strength, base.channels)
        return self._corrected(fresh, ranges, rounding, name)

    def _corrected(self, found: Best, ranges: Ranges, rounding: bool, name: str) -> Best:
        assign(
            found.prepared,
            found.plan,
            ranges,
            exact=self.exact,
            short_scales=self.short_scales,
        )
        # A plan may have put nodes in: the twin must have them, too.
        found.real = twin_of(found.prepared)
        prepare(found.prepared, found.plan, dict(self.grids))
        found.methods = {group.name: "minmax" for group in found.plan.groups}
        found.rounded = refine(
            found.real, found.prepared, self.fitting, rounding=rounding, trained=self.grids
        )
        found.output_db = decibels(self.expected, outputs(found.prepared, self.judging))
        self.trials.append(Trial(name, found.output_db))
        self.progress(f"{name}: {found.output_db:.1f} dB")
        return found

    def _choose_ranges(self, base: Best) -> tuple[Ranges, dict[str, tuple[Method, Range]]]:
        """Min/max of all values, and what is better for some groups."""
        graph_module = twin_of(base.real)
        plan = self.plan(graph_module)
        histograms = measure_histograms(graph_module, plan, self.batches)
        minmax: Ranges = {}
        options: dict[str, dict[Method, Range]] = {}
        for group in plan.groups:
            merged = group_histogram(group, histograms)
            for node in group.members:
                minmax[node.name] = choose_range(histograms[node.name], "minmax")
            if group.fixed is None:
                options[group.name] = _distinct(merged)
        return minmax, self._measure_options(base, options)

    @torch.no_grad()
    def _measure_options(
        self, base: Best, options: dict[str, dict[Method, Range]]
    ) -> dict[str, tuple[Method, Range]]:
        """In order, give each group the range with which the network's output errs least."""
        prepared = base.prepared
        constants = constants_of(prepared, prepared.graph.nodes)
        run = Run(prepared, self.choosing, constants)
        expected = outputs(base.real, self.choosing)
        chosen: dict[str, tuple[Method, Range]] = {}
        before: list[tuple[list[ActivationQuantizer], ActivationScale]] = []
        smallest = decibels(expected, outputs(prepared, self.choosing))
        for index, node in enumerate(run.nodes):
            group = self._starting_group(base.plan, node)
            if group is None or not options.get(group.name):
                continue
            run.compute_until(index)
            quantizers = _quantizers(prepared, group)
            kept = quantizers[0].scale
            before.append((quantizers, kept))
            for method, ends in options[group.name].items():
                _set_scale(quantizers, ActivationScale.from_range(*ends, kept.kind))
                found = decibels(expected, _joined(run.fork().to_end()))
                if found > smallest + RANGE_GAIN_DB:
                    smallest, kept = found, quantizers[0].scale
                    chosen[group.name] = method, ends
            _set_scale(quantizers, kept)
            self.progress(f"range of {group.name}: {smallest:.1f} dB")
        # The network that was tried on may still be the best: with the ranges it was judged by.
        for quantizers, scale in before:
            _set_scale(quantizers, scale)
        return chosen

    @staticmethod
    def _starting_group(plan: Plan, node: Node) -> Group | None:
        """The group whose first member a quantizer reads."""
        if node.op != "call_module" or not node.args:
            return None
        group = plan.group_of.get(node.args[0])
        return group if group is not None and group.members[0] is node.args[0] else None


def _joined(parts: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]


def _distinct(histogram: Histogram) -> dict[Method, Range]:
    """What methods other than min/max take, where that is another range."""
    taken = [choose_range(histogram, "minmax")]
    found: dict[Method, Range] = {}
    for method in ALTERNATIVES:
        ends = choose_range(histogram, method)
        width = ends[1] - ends[0]
        if all(abs(width - (high - low)) > SAME_RANGE * (high - low) for low, high in taken):
            taken.append(ends)
            found[method] = ends
    return found


def _quantizers(prepared: GraphModule, group: Group) -> list[ActivationQuantizer]:
    modules = [prepared.get_submodule(f"{node.name}_quantizer") for node in group.members]
    return [module for module in modules if isinstance(module, ActivationQuantizer)]


def _set_scale(quantizers: list[ActivationQuantizer], scale: ActivationScale) -> None:
    for quantizer in quantizers:
        quantizer.scale = scale


def _group(plan: Plan, name: str) -> Group:
    return next(group for group in plan.groups if group.name == name)
