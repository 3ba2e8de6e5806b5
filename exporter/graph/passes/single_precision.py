"""Half and double precision become float32: what TFLite computes in.

Requires: types of all values are known. Half-precision constants keep their values exactly;
arithmetic only gains precision. Double-precision constants are rounded, which is noted.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.changes import Changes

_OTHER = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def single_precision(model: ir.Model, changes: Changes) -> bool:
    """Turn every value of another float type into float32; return whether anything changed."""
    modified = False
    for value in list(model.graph.initializers.values()):
        modified |= _constant(value, changes)
    for node in model.graph:
        _attributes(node)
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if value.dtype in _OTHER:
            value.dtype = ir.DataType.FLOAT
            modified = True
    for node in list(model.graph):
        if node.op_type == "Cast" and node.inputs[0] is not None:
            _drop_idle_cast(model, node)
    return modified


def _constant(value: ir.Value, changes: Changes) -> bool:
    if value.const_value is None or value.const_value.dtype not in _OTHER:
        return False
    exact = value.const_value.dtype != ir.DataType.DOUBLE
    data = value.const_value.numpy().astype(np.float32)
    what = "half" if exact else "double"
    changes.note(f"{what}-precision constants become float32", value.name, exact=exact)
    value.const_value = ir.tensor(data, name=value.name)
    value.dtype = ir.DataType.FLOAT
    return True


def _attributes(node: ir.Node) -> None:
    for name in _TYPE_ATTRIBUTES:
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.value in {int(dtype) for dtype in _OTHER}:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in _OTHER:
            data = attribute.value.numpy().astype(np.float32)
            node.attributes[name] = ir.AttrTensor(name, ir.tensor(data))


def _drop_idle_cast(model: ir.Model, node: ir.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    to = node.attributes["to"].value
    if source is None or source.dtype is None or int(source.dtype) != to:
        return
    if not output.is_graph_output():
        output.replace_all_uses_with(source)
        model.graph.remove(node, safe=True)
