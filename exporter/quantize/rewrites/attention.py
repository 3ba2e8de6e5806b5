"""Scaled dot-product attention → matmul, softmax, matmul.

Vaswani et al., arXiv:1706.03762, §3.2.1.
"""

from __future__ import annotations

import math

from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.edit import ATEN, calls, insert, remove, shape_of


def expand_attention(graph_module: GraphModule) -> int:
    """Rewrite every fused attention; return how many.

    Raises:
        UnsupportedError: it has a mask, or is causal.
    """
    nodes = calls(graph_module, ATEN.scaled_dot_product_attention.default)
    for node in nodes:
        _expand(graph_module, node)
    return len(nodes)


def _expand(graph_module: GraphModule, node: Node) -> None:
    query, key, value = node.args[:3]
    masked = len(node.args) > 3 and node.args[3] is not None
    causal = len(node.args) > 5 and node.args[5]
    if masked or causal or node.kwargs.get("enable_gqa"):
        raise UnsupportedError(
            node.name, "attention", "it is masked or grouped", "attend without mask over all tokens"
        )
    shape, keys = shape_of(query), shape_of(key)
    factor = node.kwargs.get("scale") or 1.0 / math.sqrt(shape[-1])
    order = [*range(len(keys) - 2), len(keys) - 1, len(keys) - 2]
    turned = (*keys[:-2], keys[-1], keys[-2])
    scores = (*shape[:-1], keys[-2])
    scaled = insert(graph_module, node, ATEN.mul.Tensor, query, factor, shape=shape)
    across = insert(graph_module, node, ATEN.permute.default, key, order, shape=turned)
    product = insert(graph_module, node, ATEN.matmul.default, scaled, across, shape=scores)
    weights = insert(graph_module, node, ATEN.softmax.int, product, -1, shape=scores)
    mixed = insert(graph_module, node, ATEN.matmul.default, weights, value, shape=shape_of(node))
    remove(graph_module, node, mixed)
