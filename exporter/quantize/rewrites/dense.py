"""Dense layers on tokens → dense layers on rows: [..., C] is seen as [rows, C] and back."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from exporter.quantize.edit import (
    ATEN,
    add_parameter,
    calls,
    insert,
    parameter_of,
    remove,
    shape_of,
    view,
)


def lower_dense(graph_module: GraphModule) -> int:
    """Rewrite products with a constant matrix, and layers on more than two axes; return how many.

    Only a layer on rows becomes one integer kernel in ONNX Runtime.
    """
    count = 0
    for node in calls(graph_module, ATEN.matmul.default, ATEN.mm.default):
        count += _product_to_layer(graph_module, node)
    for node in calls(graph_module, ATEN.linear.default):
        count += _to_rows(graph_module, node)
    return count


def _product_to_layer(graph_module: GraphModule, node: Node) -> int:
    other = node.args[1]
    weight = parameter_of(graph_module, other)
    if other.target is ATEN.permute.default and len(shape_of(other)) == 2:
        turned = other.args[0]
        if parameter_of(graph_module, turned) is None or list(other.args[1]) != [1, 0]:
            return 0
    elif weight is None or weight.dim() != 2:
        return 0
    else:
        name = f"{other.target}_transposed"
        turned = add_parameter(graph_module, name, weight.detach().t().contiguous(), node)
    shape = shape_of(node)
    layer = insert(graph_module, node, ATEN.linear.default, node.args[0], turned, shape=shape)
    remove(graph_module, node, layer)
    return 1


def _to_rows(graph_module: GraphModule, node: Node) -> int:
    source, shape = node.args[0], shape_of(node)
    if len(shape) == 2:
        return 0
    rows = 1
    for size in shape[:-1]:
        rows *= size
    flat = view(graph_module, node, source, (rows, shape_of(source)[-1]))
    wide = (rows, shape[-1])
    layer = insert(graph_module, node, ATEN.linear.default, flat, *node.args[1:], shape=wide)
    remove(graph_module, node, view(graph_module, node, layer, shape))
    return 1
