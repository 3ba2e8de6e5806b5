"""In-place operators become functional; what does nothing in evaluation mode goes."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.edit import ATEN, finish_edit, remove

IN_PLACE = {
    ATEN.relu_.default: ATEN.relu.default,
    ATEN.relu6_.default: ATEN.relu6.default,
    ATEN.hardtanh_.default: ATEN.hardtanh.default,
    ATEN.hardswish_.default: ATEN.hardswish.default,
    ATEN.hardsigmoid_.default: ATEN.hardsigmoid.default,
    ATEN.silu_.default: ATEN.silu.default,
    ATEN.mish_.default: ATEN.mish.default,
    ATEN.elu_.default: ATEN.elu.default,
    ATEN.celu_.default: ATEN.celu.default,
    ATEN.selu_.default: ATEN.selu.default,
    ATEN.leaky_relu_.default: ATEN.leaky_relu.default,
    ATEN.sigmoid_.default: ATEN.sigmoid.default,
    ATEN.tanh_.default: ATEN.tanh.default,
    ATEN.clamp_.default: ATEN.clamp.default,
    ATEN.add_.Tensor: ATEN.add.Tensor,
    ATEN.sub_.Tensor: ATEN.sub.Tensor,
    ATEN.mul_.Tensor: ATEN.mul.Tensor,
    ATEN.div_.Tensor: ATEN.div.Tensor,
}
_NOTHING = {
    ATEN.dropout.default,
    ATEN.dropout_.default,
    ATEN.feature_dropout.default,
    ATEN.feature_dropout_.default,
    ATEN.alpha_dropout.default,
    ATEN.contiguous.default,
    ATEN.clone.default,
    ATEN.alias.default,
    ATEN.detach.default,
    ATEN.detach_.default,
    ATEN.lift_fresh_copy.default,
}
_CHECKS = {ATEN._assert_tensor_metadata.default, ATEN._assert_async.msg}


def make_functional(graph_module: GraphModule) -> None:
    """Rewrite a captured graph in place."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in IN_PLACE:
            node.target = IN_PLACE[node.target]
        elif node.target in _NOTHING or _casts_to_float(node):
            remove(graph_module, node, node.args[0])
        elif node.target in _CHECKS:
            graph_module.graph.erase_node(node)
    finish_edit(graph_module)


def _casts_to_float(node: Node) -> bool:
    """Whether it is a cast of float32 to float32."""
    if node.target is not ATEN.to.dtype or node.args[1] is not torch.float32:
        return False
    value = node.args[0].meta.get("val")
    return value is not None and value.dtype is torch.float32
