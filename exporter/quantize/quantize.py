"""Quantize a trained module: the steps of phase B in order."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import GraphModule

from exporter.inputs import InputSpec
from exporter.quantize.capture import capture
from exporter.quantize.fold import Grids, fold_batch_norm, fold_input_affine
from exporter.quantize.plan import Plan, assign, make_plan
from exporter.quantize.qat import prepare
from exporter.quantize.ranges import measure_ranges


@dataclass
class Prepared:
    """A graph with quantizers in place: to be trained on, or finished at once.

    Attributes:
        graph_module: takes what `InputSpec.to_graph` gives.
        plan: its scales.
    """

    graph_module: GraphModule
    plan: Plan


def folded(module: nn.Module, spec: InputSpec, grids: Grids | None = None) -> GraphModule:
    """Capture a module and fold its batch norms; it still takes what the module takes.

    Args:
        module: a trained module; left as it is.
        spec: its input.
        grids: grids of its weights, by parameter name; edited in place.

    Raises:
        UnsupportedError: a part that cannot be captured or folded.
    """
    example = torch.zeros((2, *spec.shape[1:]))
    graph_module = capture(copy.deepcopy(module), example)
    fold_batch_norm(graph_module, {} if grids is None else grids)
    return graph_module


def prepare_module(
    module: nn.Module,
    spec: InputSpec,
    samples: Iterable[torch.Tensor],
    *,
    grids: Grids | None = None,
    exact: bool = True,
) -> Prepared:
    """Capture, fold, plan, calibrate and put quantizers in place.

    Args:
        module: a trained module; left as it is.
        spec: its input.
        samples: batches of the data set to calibrate with.
        grids: grids of weights that were trained on levels; others get one here.
        exact: the rules that make two runtimes agree bit for bit.

    Raises:
        UnsupportedError: a part that has no int8 form.
        RecipeError: samples that do not fit the input.
    """
    grids = dict(grids or {})
    graph_module = folded(module, spec, grids)
    scale = spec.frame_scale()
    if scale is not None:
        factor, shift = (torch.from_numpy(a).float() for a in spec.residual_affine())
        fold_input_affine(graph_module, factor, shift, grids)
    plan = make_plan(graph_module, scale)
    ranges = measure_ranges(graph_module, plan, (spec.to_graph(batch) for batch in samples))
    assign(plan, ranges, exact=exact)
    return Prepared(prepare(graph_module, plan, grids), plan)
