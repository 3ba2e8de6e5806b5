"""Phase B: from the trained module to the canonical graph."""

from __future__ import annotations

import onnx_ir as ir
import torch

from exporter.build import replacing
from exporter.graph.canonical import canonicalise
from exporter.onnx_export import to_onnx
from exporter.quantize.finish import Trained, finish
from exporter.quantize.quantize import Prepared, prepare_module
from exporter.recipe import FitSection
from exporter.stages.context import Context, Figures, bar, save_tensors
from exporter.stages.train import run_fit, trained_module
from exporter.train import evaluate


def quantize(context: Context) -> Figures:
    """Calibrate, train with quantizers in place, finish, and write the canonical ONNX."""
    section = context.recipe.quantize
    module, grids = trained_module(context)
    count = -(-context.recipe.data.calibration_samples // context.recipe.data.batch_size)
    with context.reporter.stage("calibrate", count) as advance:
        prepared = prepare_module(
            module,
            context.spec,
            bar(advance, context.calibration()),
            grids=grids,
            exact=section.exact,
        )
    if section.epochs:
        fit_section = FitSection(epochs=section.epochs, lr=section.lr, weight_decay=0.0)
        run_fit(context, prepared.graph_module, fit_section, "QAT", to_model=context.spec.to_graph)
    figures = _figures(context, prepared)
    graph_module, trained = finish(prepared.graph_module)
    with context.reporter.stage("export to ONNX", 2) as advance:
        example = torch.zeros((2, *context.spec.shape[1:]))
        model = to_onnx(graph_module, example, context.recipe.name)
        advance(1, "")
        canonicalise(
            model,
            dtype=context.spec.dtype,
            integer_outputs=context.recipe.output.dtype == "int8",
        )
        save_onnx(model, context, "qdq.onnx")
        _save_trained(context, trained)
    return figures


def save_onnx(model: ir.Model, context: Context, suffix: str) -> None:
    """Write NAME.suffix, whole or not at all."""
    with replacing(context.path(suffix)) as temporary:
        ir.save(model, temporary, format="protobuf")


def _figures(context: Context, prepared: Prepared) -> Figures:
    from exporter.layers import entropy_bytes
    from exporter.quantize.qat import GridWeight

    weights = [m.grid().integers for m in prepared.graph_module.modules() if type(m) is GridWeight]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    figures = {
        "sparsity": zeros / max(1, sum(weight.numel() for weight in weights)),
        "weight_bytes": sum(entropy_bytes(weight.numpy()) for weight in weights),
    }
    if context.recipe.data.test is not None:
        loader = context.loader("test", shuffle=False)
        figures["accuracy"] = evaluate(prepared.graph_module, loader, context.spec.to_graph)
    return figures


def _save_trained(context: Context, trained: Trained) -> None:
    tensors = {}
    for name, grid in trained.weights.items():
        tensors[f"integers.{name}"] = grid.integers
        tensors[f"scale.{name}"] = grid.scale
    scales = list(trained.activations.values())
    tensors["activation_scales"] = torch.tensor([s.scale for s in scales], dtype=torch.float32)
    tensors["activation_zero_points"] = torch.tensor(
        [s.zero_point for s in scales], dtype=torch.int32
    )
    save_tensors(context.path("trained.safetensors"), tensors)
