"""Let a transposition at the entrance come before quantization.

    NHWC input → Q → DQ → Transpose   becomes   NHWC input → Transpose → Q → DQ

so that the input is known to be one of channels last, and no TRANSPOSE is needed.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph.passes.changes import Changes
from exporter.graph.qdq import is_dequantize, is_quantize, parameters_of, readers

_TO_NCHW = [0, 3, 1, 2]


def transposed_input(model: ir.Model, changes: Changes) -> bool:
    """Move the transposition of each input up; return whether anything changed."""
    modified = False
    for value in model.graph.inputs:
        for first in readers(value):
            modified |= _move(model.graph, first, changes)
    return modified


def _move(graph: ir.Graph, first: ir.Node, changes: Changes) -> bool:
    """One chain from an input: its quantization operators, then its transposition."""
    chain = [first]
    while is_quantize(chain[-1]) or is_dequantize(chain[-1]):
        if parameters_of(chain[-1]).per_channel or len(readers(chain[-1].outputs[0])) != 1:
            return False
        chain.append(readers(chain[-1].outputs[0])[0])
    last = chain[-1]
    order = last.attributes.get("perm")
    if last is first or last.op_type != "Transpose" or order is None:
        return False
    if list(order.value) != _TO_NCHW or last.outputs[0].is_graph_output():
        return False
    source = first.inputs[0]
    moved = ir.node("Transpose", [source], attributes={"perm": _TO_NCHW}, name=str(last.name))
    moved.outputs[0].name = f"{source.name}_nchw" if source is not None else "nchw"
    moved.outputs[0].dtype = source.dtype if source is not None else None
    moved.outputs[0].shape = last.outputs[0].shape
    graph.insert_before(first, moved)
    first.replace_input_with(0, moved.outputs[0])
    for node in chain[:-1]:
        node.outputs[0].shape = last.outputs[0].shape
    last.outputs[0].replace_all_uses_with(chain[-2].outputs[0])
    graph.remove(last, safe=True)
    changes.note("the input's transposition comes before its quantization", last.name)
    return True
