"""Quantize a trained module: the steps of phase B in order."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.fx import GraphModule

from exporter.build import Activations
from exporter.compress.magnitude import check_module
from exporter.errors import RecipeError
from exporter.inputs import InputSpec
from exporter.memory import give_back
from exporter.quantize.best import Best, Search
from exporter.quantize.bias_correction import FEWEST_SAMPLES
from exporter.quantize.capture import capture
from exporter.quantize.channel_classes import Channels
from exporter.quantize.equalize import equalize
from exporter.quantize.float_layers import Precision, chosen_weights
from exporter.quantize.fold import (
    Grids,
    fold_batch_norm,
    fold_input_affine,
    takes_input_affine,
)
from exporter.quantize.lockstep import fitting_count, twin_of
from exporter.quantize.pairing import pair_channels
from exporter.quantize.plan import Plan, assign, make_plan
from exporter.quantize.qat import prepare
from exporter.quantize.ranges import Method, measure_ranges
from exporter.quantize.refine import Tick, refine
from exporter.quantize.rewrites import normalise, simplify
from exporter.quantize.rewrites.affine import affine_input
from exporter.quantize.samples import Samples
from exporter.quantize.scheme import ActivationScale


@dataclass
class Prepared:
    """A graph with quantizers in place: to be trained on, or finished at once.

    Attributes:
        graph_module: takes what `InputSpec.to_graph` gives.
        plan: its scales.
        real: the float graph that was quantized, for comparison; None where nothing asked for it.
        best: what was tried and chosen; None unless that was asked for.
        notes: what was asked for and not done, with the reason; and which layers "auto:N" took.
        channels: what became of channels, as their layers' outputs have it.
    """

    graph_module: GraphModule
    plan: Plan
    real: GraphModule | None = None
    best: Best | None = None
    notes: tuple[str, ...] = ()
    channels: Channels = field(default_factory=Channels)


@dataclass(frozen=True)
class Calibration:
    """How scales, rounding and biases are found without training.

    Attributes:
        method: of ranges; or "best", which tries all of this and measures.
        equalize: give the channels of a value ranges alike (`exporter.quantize.equalize`).
        pair_channels: put channels in the order in which the pair rule costs least
            (`exporter.quantize.pairing`), where `exact` asks for that rule.
        rounding: round weights for the layer's output (`exporter.quantize.adaround`).
        biases: take the shift of means back (`exporter.quantize.bias_correction`).
        float_layers: layers that stay float, by name; "auto:N": the N whose weights cost most.
        int16_layers: layers whose results stay int16, likewise. The runtimes do not compute
            those alike.
        activations: the type of all values. With "int16" the rules of `exact` are left out: the
            runtimes do not compute it alike.
    """

    method: Method | Literal["best"] = "minmax"
    equalize: bool = False
    pair_channels: bool = False
    rounding: bool = False
    biases: bool = False
    float_layers: str | tuple[str, ...] = ()
    int16_layers: str | tuple[str, ...] = ()
    activations: Activations = "int8"


def folded(module: nn.Module, spec: InputSpec, grids: Grids | None = None) -> GraphModule:
    """Capture a module and fold its batch norms; it still takes what the module takes.

    Args:
        module: a trained module; left as it is.
        spec: its input.
        grids: grids of its weights, by parameter name; edited in place.

    Raises:
        UnsupportedError: a part that cannot be captured or folded.
        WeightError: a parameter or a batch norm's statistic with NaN or infinity, by its name.
    """
    check_module(module)
    example = torch.zeros((2, *spec.shape[1:]))
    graph_module = capture(copy.deepcopy(module), example)
    normalise(graph_module, spec.shape[1:])
    fold_batch_norm(graph_module, {} if grids is None else grids)
    simplify(graph_module, spec.shape[1:])
    return graph_module


def prepare_module(
    module: nn.Module,
    spec: InputSpec,
    samples: Iterable[torch.Tensor],
    *,
    grids: Grids | None = None,
    exact: bool = True,
    short_scales: bool = True,
    calibration: Calibration = Calibration(),
    tick: Tick = lambda note: None,
) -> Prepared:
    """Capture, fold, plan, calibrate and put quantizers in place.

    Args:
        module: a trained module; left as it is.
        spec: its input.
        samples: batches of the data set to calibrate with.
        grids: grids of weights that were trained on levels; others get one here.
        exact: the rules that make two runtimes agree bit for bit.
        short_scales: give weights scales with short mantissas, which pack into a third.
        calibration: how scales, rounding and biases are found.
        tick: told of what is done behind the first pass over the samples.

    Raises:
        UnsupportedError: a part that has no int8 form.
        RecipeError: samples that do not fit the input, or a float layer that there is none of.
    """
    grids = dict(grids or {})
    graph_module = folded(module, spec, grids)
    scale = spec.frame_scale()
    told = _take_frames(graph_module, spec, grids) if scale is not None else ()
    kept = Samples(spec, samples)
    pairs = calibration.pair_channels and exact and calibration.activations == "int8"
    floats, wide = _mixed(graph_module, calibration, scale, kept)
    told = (*told, *_taken("float", calibration.float_layers, floats))
    told = (*told, *_taken("int16", calibration.int16_layers, wide))
    planned = partial(
        make_plan,
        input_scale=scale,
        float_weights=floats,
        activations=calibration.activations,
        wide_weights=wide,
    )
    if calibration.method == "best":
        best = Search(
            graph_module,
            planned,
            kept,
            grids,
            exact=exact,
            short_scales=short_scales,
            pair_channels=pairs,
            progress=tick,
        ).run()
        return Prepared(best.prepared, best.plan, best.real, best, told, best.channels)
    channels = Channels(
        equalize(graph_module, kept, grids) if calibration.equalize else {},
        pair_channels(graph_module, grids) if pairs else {},
    )
    give_back()
    plan = planned(graph_module)
    corrects = calibration.biases or calibration.rounding
    mixes = calibration.float_layers or calibration.int16_layers
    passes_once = not (corrects or calibration.equalize or mixes)
    batches = (spec.to_graph(batch) for batch in samples) if passes_once else kept
    assign(
        graph_module,
        plan,
        measure_ranges(graph_module, plan, batches, calibration.method),
        exact=exact,
        short_scales=short_scales,
    )
    if not corrects:
        prepare(graph_module, plan, grids)
        return Prepared(graph_module, plan, notes=told, channels=channels)
    real = twin_of(graph_module)
    trained = dict(grids)
    prepare(graph_module, plan, grids)
    fitting, _ = kept.pick(fitting_count(real))
    count = sum(len(batch) for batch in fitting)
    enough = count >= FEWEST_SAMPLES
    refine(
        real,
        graph_module,
        fitting,
        rounding=calibration.rounding,
        biases=calibration.biases and enough,
        trained=trained,
        tick=tick,
    )
    if calibration.biases and not enough:
        told = (*told, _too_few(count))
    return Prepared(graph_module, plan, real, notes=told, channels=channels)


def _take_frames(graph_module: GraphModule, spec: InputSpec, grids: Grids) -> tuple[str, ...]:
    """Let the graph take frames as their scale has them; what there is to say of it."""
    factor, shift = (torch.from_numpy(a).float() for a in spec.residual_affine())
    if takes_input_affine(graph_module):
        lost = fold_input_affine(graph_module, factor, shift, grids)
        if not lost:
            return ()
        return (
            f"{', '.join(lost)}: trained on few levels, ships with many: std differs between the "
            "channels and is folded into it; one std for all keeps the levels",
        )
    if not (bool((factor == 1).all()) and bool((shift == 0).all())):
        affine_input(graph_module, factor, shift)
    return ()


def _mixed(
    graph_module: GraphModule,
    calibration: Calibration,
    scale: ActivationScale | None,
    samples: Samples,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The weights of layers that stay float, and of those that stay in int16."""
    choose = partial(
        chosen_weights,
        graph_module,
        input_scale=scale,
        samples=samples,
        activations=calibration.activations,
    )
    found: dict[Precision, tuple[str, ...]] = {"float": (), "int16": ()}
    if calibration.float_layers:
        found["float"] = choose("float", calibration.float_layers)
    if calibration.int16_layers:
        found["int16"] = choose("int16", calibration.int16_layers)
    both = sorted({*found["float"]} & {*found["int16"]})
    if both:
        raise RecipeError(
            f"[quantize] float_layers and int16_layers both hold {', '.join(both)}",
            expected="a layer in one of the two",
        )
    return found["float"], found["int16"]


def _taken(
    precision: Precision, wished: str | tuple[str, ...], weights: Sequence[str]
) -> tuple[str, ...]:
    """Which layers "auto:N" took, the one that gains most first."""
    if not isinstance(wished, str) or not wished:
        return ()
    names = ", ".join(name.removesuffix(".weight") for name in weights) or "none"
    return (f"{precision}_layers = {wished} took {names}",)


def _too_few(count: int) -> str:
    return (
        f"biases were not corrected: {count} sample(s) to measure their error on are fewer than "
        f"{FEWEST_SAMPLES}, from which on it gains; give more calibration samples"
    )
