"""x * (1 + erf(x / sqrt(2))) / 2, written out in elementary operators, becomes Gelu.

Exporters of opsets before 20 write it so. Hendrycks and Gimpel, arXiv:1606.08415.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from exporter.graph.onnx_edit import constant, insert_before
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.plain_operators import replace_result
from exporter.graph.qdq import readers

CLOSE = 1e-3
"""Relative: half precision rounds the constants so."""


def gelu(model: ir.Model, changes: Changes) -> bool:
    """Rewrite each; return whether anything changed."""
    modified = False
    for node in list(model.graph):
        found = _match(node) if node.op_type == "Erf" else None
        if found is None:
            continue
        source, last = found
        value = insert_before(model.graph, last, "Gelu", [source], f"{last.outputs[0].name}_gelu")
        replace_result(model.graph, last, value)
        changes.note("erf in elementary operators becomes Gelu", last.name)
        modified = True
    return modified


def _match(erf: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """x, and the node that gives the whole."""
    scaled = erf.inputs[0].producer() if erf.inputs[0] is not None else None
    source = None if scaled is None else _times(scaled, 1 / math.sqrt(2))
    plus = _only_reader(erf.outputs[0])
    if source is None or plus is None or plus.op_type != "Add" or not _has(plus, 1.0):
        return None
    left = {"x", "half"}
    value = plus.outputs[0]
    while left:
        node = _only_reader(value)
        if node is None or node.op_type != "Mul":
            return None
        other = next((v for v in node.inputs if v is not value), None)
        if other is source and "x" in left:
            left.remove("x")
        elif _is(other, 0.5) and "half" in left:
            left.remove("half")
        elif _is_half_of(other, source) and len(left) == 2:
            left.clear()
        else:
            return None
        value = node.outputs[0]
        if not left:
            return source, node
    return None


def _only_reader(value: ir.Value) -> ir.Node | None:
    nodes = readers(value)
    return nodes[0] if len(nodes) == 1 and not value.is_graph_output() else None


def _times(node: ir.Node, factor: float) -> ir.Value | None:
    """The other factor of a product with `factor`, or of a quotient by 1 / factor."""
    first, second = (*node.inputs, None, None)[:2]
    if node.op_type == "Div" and _is(second, 1 / factor):
        return first
    if node.op_type == "Mul":
        return first if _is(second, factor) else second if _is(first, factor) else None
    return None


def _is_half_of(value: ir.Value | None, source: ir.Value) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and _times(producer, 0.5) is source


def _has(node: ir.Node, number: float) -> bool:
    return any(_is(value, number) for value in node.inputs)


def _is(value: ir.Value | None, number: float) -> bool:
    data = constant(value)
    return (
        data is not None
        and data.size == 1
        and math.isclose(float(data.reshape(())), number, rel_tol=CLOSE)
    )
