"""Give a selecting operator inputs of its output's scale.

    DQ(s1) → Concat → Q(s3)   becomes   DQ(s1) → Q(s3) → DQ(s3) → Concat → Q(s3)

Integers change at the same place with the same rounding; the operator itself then moves integers
and nothing else, which is the only form that TFLite has of it.

Requires: quantization_first, quantization_through.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph import qdq
from exporter.graph.passes.changes import Changes
from exporter.graph.passes.selecting import data_inputs, selects
from exporter.graph.qdq import common_quantization, readers, source_quantization


def shared_scales(model: ir.Model, changes: Changes) -> bool:
    """Quantize inputs anew where their scale is another; return whether anything changed."""
    modified = False
    graph = model.graph
    for node in list(graph):
        if not selects(node):
            continue
        wanted = [common_quantization(value) for value in node.outputs if readers(value)]
        target = wanted[0] if wanted else None
        if target is None or any(one is None or not target.same_as(one) for one in wanted):
            continue
        for index in data_inputs(node):
            value = node.inputs[index]
            source = source_quantization(value)
            if value is None or source is None or source.same_as(target):
                continue
            name = f"{value.name}_for_{node.outputs[0].name}_{index}"
            integers = qdq.quantize(graph, node, value, target, f"{name}_int8")
            node.replace_input_with(index, qdq.dequantize(graph, node, integers, target, name))
            changes.note("inputs of what only selects take its scale", node.name)
            modified = True
    return modified
