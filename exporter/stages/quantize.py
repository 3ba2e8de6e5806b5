"""Phase B: from the trained module to the canonical graph."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir
import torch

from exporter.build import replacing, save_json
from exporter.compress.criteria import pattern_of
from exporter.compress.structure import structure_of
from exporter.graph.canonical import canonicalise
from exporter.onnx_export import to_onnx
from exporter.quantize.channel_classes import Channels
from exporter.quantize.compact import coarsen_biases
from exporter.quantize.finish import Trained, finish
from exporter.quantize.groups import Plan
from exporter.quantize.quantize import Calibration, Prepared, prepare_module
from exporter.recipe import Recipe
from exporter.stages.context import Context, Figures, bar
from exporter.stages.fitting import Subject, run_fit
from exporter.stages.sizes import GridSizes
from exporter.stages.train import trained_module
from exporter.train import evaluate
from exporter.trained import (
    ACTIVATION_SCALES,
    ACTIVATION_ZERO_POINTS,
    CHANNEL_FACTORS,
    CHANNEL_ORDER,
    WEIGHT_INTEGERS,
    WEIGHT_SCALE,
)

SHOWN: Final = 3
"""Places that a warning names."""


def quantize(context: Context) -> Figures:
    """Calibrate, train with quantizers in place, finish, and write the canonical ONNX."""
    section = context.recipe.quantize
    module, grids = trained_module(context)
    structure = structure_of(module)
    count = -(-context.recipe.data.calibration_samples // context.recipe.data.batch_size)
    with context.reporter.stage("calibrate", count) as advance:
        prepared = prepare_module(
            module,
            context.spec,
            bar(advance, context.calibration()),
            grids=grids,
            exact=section.exact,
            short_scales=section.small_parts,
            calibration=_calibration(context.recipe),
            tick=lambda note: advance(0, note),
        )
    sizes = GridSizes(prepared.graph_module, structure)
    if section.epochs:
        subject = Subject(
            "quantize", prepared.graph_module, sizes=sizes, to_model=context.spec.to_graph
        )
        run_fit(context, subject, section.fitting(), "QAT")
    if not context.team.main:
        return {}
    for note in (*prepared.notes, *_rounded_apart(prepared.plan)):
        context.reporter.warn(note)
    _record_ptq(context, prepared)
    if section.small_parts:
        coarsen_biases(prepared.graph_module)
    figures = _figures(context, prepared, sizes)
    graph_module, trained = finish(prepared.graph_module)
    with context.reporter.stage("export to ONNX", 2) as advance:
        example = torch.zeros((2, *context.spec.shape[1:]))
        model = to_onnx(graph_module, example, context.recipe.name, context.recipe.output.names)
        advance(1, "")
        canonicalise(
            model,
            dtype=context.spec.dtype,
            integer_outputs=context.recipe.output.dtype == "int8",
            kept_float=sorted(prepared.plan.float_weights),
            frame_zero_point=context.spec.frame_zero_point,
        )
        save_onnx(model, context, "qdq.onnx")
        _save_trained(context, trained, prepared.channels)
    return figures


def save_onnx(model: ir.Model, context: Context, suffix: str) -> None:
    """Write NAME.suffix, whole or not at all."""
    with replacing(context.path(suffix)) as temporary:
        ir.save(model, temporary, format="protobuf")


def _calibration(recipe: Recipe) -> Calibration:
    """What the recipe asks for; training makes good what these correct, and starts plain.

    Channels stay in their order where an N:M pattern lies along them.
    """
    section, prune = recipe.quantize, recipe.prune
    trains = section.epochs > 0
    patterned = prune is not None and pattern_of(prune.criterion) is not None
    return Calibration(
        section.ptq,
        equalize=section.equalize and not trains,
        pair_channels=section.pair_channels and not trains and not patterned,
        rounding=section.adaptive_rounding and not trains,
        biases=section.bias_correction and not trains,
        float_layers=section.float_layers,
        int16_layers=section.int16_layers,
        activations=section.activations,
    )


def _rounded_apart(plan: Plan) -> list[str]:
    """One line on the places where no rule keeps the runtimes together; none where all hold."""
    if not plan.notes:
        return []
    more = len(plan.notes) - SHOWN
    shown = [*plan.notes[:SHOWN], *([f"and at {more} more"] if more > 0 else [])]
    return [f"the runtimes may round apart at {'; '.join(shown)}"]


def _record_ptq(context: Context, prepared: Prepared) -> None:
    """Write and show what `ptq = "best"` chose; nothing is left of a run before."""
    path = context.path("ptq.json")
    path.unlink(missing_ok=True)
    if prepared.best is None:
        return
    from exporter.ptq import describe

    choices = describe(prepared.best)
    save_json(path, choices)
    context.reporter.show(choices.table())


def _figures(context: Context, prepared: Prepared, sizes: GridSizes) -> Figures:
    figures = {"sparsity": sizes.sparsity(), "weight_bytes": sizes.weight_bytes()}
    if context.recipe.data.test is not None:
        loader = context.loader("test", shuffle=False)
        figures["accuracy"] = evaluate(
            prepared.graph_module, loader, context.spec.to_graph, context.task.score
        )
    return figures


def _save_trained(context: Context, trained: Trained, channels: Channels) -> None:
    tensors = {}
    for name, grid in trained.weights.items():
        tensors[WEIGHT_INTEGERS + name] = grid.integers
        tensors[WEIGHT_SCALE + name] = grid.scale
    tensors |= {CHANNEL_FACTORS + name: factors for name, factors in channels.factors.items()}
    tensors |= {CHANNEL_ORDER + name: order for name, order in channels.order.items()}
    scales = list(trained.activations.values())
    tensors[ACTIVATION_SCALES] = torch.tensor([s.scale for s in scales], dtype=torch.float32)
    tensors[ACTIVATION_ZERO_POINTS] = torch.tensor(
        [s.zero_point for s in scales], dtype=torch.int32
    )
    context.save(context.path("trained.safetensors"), tensors)
