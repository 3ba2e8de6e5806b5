"""The order of the rewrites that bring an ONNX model of any tool to the form that is lowered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from exporter.errors import UnsupportedError
from exporter.graph.intake import refusing
from exporter.graph.passes.batch_norms import batch_norms
from exporter.graph.passes.bounded_scales import bounded_scales
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.clean import clean
from exporter.graph.passes.dense_layers import dense_layers
from exporter.graph.passes.explicit_padding import explicit_padding
from exporter.graph.passes.explicit_quantization import explicit_quantization
from exporter.graph.passes.fixed_shapes import fixed_inputs, inferred_shapes
from exporter.graph.passes.folded_constants import Budget, folded_constants
from exporter.graph.passes.gelu import gelu
from exporter.graph.passes.idle_quantization import idle_quantization
from exporter.graph.passes.integer_biases import integer_biases
from exporter.graph.passes.integer_constants import integer_constants
from exporter.graph.passes.integer_selection import integer_selection
from exporter.graph.passes.one_dimensional import one_dimensional
from exporter.graph.passes.plain_operators import REWRITTEN as PLAIN
from exporter.graph.passes.plain_operators import plain_operators
from exporter.graph.passes.pool_padding import pool_padding
from exporter.graph.passes.qoperator import qoperator
from exporter.graph.passes.quantization_first import quantization_first
from exporter.graph.passes.quantization_through import quantization_through
from exporter.graph.passes.separate_outputs import separate_outputs
from exporter.graph.passes.shared_scales import shared_scales
from exporter.graph.passes.signed_activations import signed_activations
from exporter.graph.passes.single_precision import single_precision
from exporter.graph.passes.symmetric_weights import symmetric_weights
from exporter.graph.passes.tie_free_scales import tie_free_scales
from exporter.graph.passes.transposed_convolutions import transposed_convolutions
from exporter.graph.passes.transposed_input import transposed_input

REWRITTEN = {
    **PLAIN,
    "BatchNormalization": "part of the convolution before it, or a product and a sum",
    "Constant": "a constant",
    "Identity": "nothing",
    "Shape": "a constant, as shapes are fixed",
    "Upsample": "Resize",
}
"""Operators that others take the place of, and which these are."""

ROUNDS = 3
"""Folding a constant can fix a shape, which fixes another constant."""


def normalize(
    model: ir.Model, path: Path, shapes: Mapping[str, Sequence[int]], changes: Changes
) -> None:
    """Rewrite a model in place.

    Args:
        model: from `exporter.graph.intake.open_onnx`.
        path: where it came from, for messages.
        shapes: of inputs, by name.
        changes: told of every rewrite.

    Raises:
        ModelError: shapes that are open or contradict each other.
        UnsupportedError: an operator or a quantization that has no form here.
    """
    with refusing("the rewriting of its graph", path):
        common.InlinePass()(model)
        _name_nodes(model)
        common.RemoveInitializersFromInputsPass()(model)
        fixed_inputs(model, shapes, changes)
        clean(model)
        qoperator(model, changes)
        explicit_quantization(model, changes)
        _settle_shapes(model, changes)
        _refuse_control_flow(model)
        _plain(model, changes)
        _quantized(model, changes)
        model.graph.sort()
        clean(model)
        inferred_shapes(model)
        _name_nodes(model)


def with_shared_scales(model: ir.Model, changes: Changes) -> ir.Model:
    """A copy whose selecting operators read and give one scale, as TFLite asks for it.

    ONNX Runtime gets the model without: its QLinearConcat requantizes by itself, and it merges two
    quantizations in a row into one that rounds otherwise.
    """
    shared = model.clone()
    if shared_scales(shared, changes):
        shared.graph.sort()
        inferred_shapes(shared)
        _name_nodes(shared)
    return shared


def _settle_shapes(model: ir.Model, changes: Changes) -> None:
    inferred_shapes(model, strict=True)
    if single_precision(model, changes):
        inferred_shapes(model)
    budget = Budget()
    for _ in range(ROUNDS):
        if not folded_constants(model, budget):
            break
        clean(model)
        inferred_shapes(model)


def _refuse_control_flow(model: ir.Model) -> None:
    for node in model.graph:
        if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
            raise UnsupportedError(
                str(node.name),
                node.op_type,
                "which operators run is decided while the model runs",
                "fix the inputs' shapes with --input, or export a model without branches",
            )


_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _plain(model: ir.Model, changes: Changes) -> None:
    """Few spellings of few operators, whatever the numbers are."""
    integer_selection(model, changes)
    integer_constants(model, changes)
    plain_operators(model, changes)
    gelu(model, changes)
    one_dimensional(model, changes)
    explicit_padding(model, changes)
    pool_padding(model)
    batch_norms(model, changes)
    transposed_convolutions(model, changes)
    dense_layers(model, changes)
    clean(model)
    inferred_shapes(model)


def _quantized(model: ir.Model, changes: Changes) -> None:
    """QDQ in the canonical form, as far as the model is quantized."""
    integer_constants(model, changes)
    symmetric_weights(model, changes)
    signed_activations(model, changes)
    transposed_input(model, changes)
    bounded_scales(model, changes)
    tie_free_scales(model, changes)
    quantization_first(model, changes)
    quantization_through(model, changes)
    idle_quantization(model, changes)
    separate_outputs(model)
    integer_biases(model, changes)


def _name_nodes(model: ir.Model) -> None:
    """Every node gets a name of its own: messages and lowering rest on it."""
    seen: set[str] = set()
    for node in model.graph:
        base = str(node.name or f"{node.outputs[0].name}/{node.op_type}")
        name, count = base, 1
        while name in seen:
            name, count = f"{base}_{count}", count + 1
        seen.add(name)
        node.name = name
