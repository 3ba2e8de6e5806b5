"""Functions made of others.

- SiLU = x * sigmoid(x).
- 1 / sqrt(x) = x ** -0.5.
- softplus(x, beta) = softplus(beta * x) / beta.
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError
from exporter.quantize.edit import ATEN, argument, calls, insert, remove, shape_of

LEAST_THRESHOLD = 16.0
"""From here on softplus(x) is x in float32, so that it is one function below and above."""


def expand_activations(graph_module: GraphModule) -> int:
    """Rewrite every SiLU, reciprocal root and softplus with a factor; return how many.

    As two integer operators, a table and a multiplication, it is several times faster than in float
    (Elfwing et al., arXiv:1702.03118, for the function).
    """
    nodes = calls(graph_module, ATEN.silu.default)
    for node in nodes:
        source = node.args[0]
        shape = shape_of(node)
        gate = insert(graph_module, node, ATEN.sigmoid.default, source, shape=shape)
        product = insert(graph_module, node, ATEN.mul.Tensor, source, gate, shape=shape)
        remove(graph_module, node, product)
    roots = calls(graph_module, ATEN.rsqrt.default)
    for node in roots:  # to ONNX it would go as two operators, with a value between them
        node.target, node.args = ATEN.pow.Tensor_Scalar, (node.args[0], -0.5)
    scaled = [_softplus(graph_module, node) for node in calls(graph_module, ATEN.softplus.default)]
    return len(nodes) + len(roots) + sum(scaled)


def _softplus(graph_module: GraphModule, node: Node) -> int:
    source, beta, threshold = node.args[0], argument(node, 1, 1.0), argument(node, 2, 20.0)
    if threshold < LEAST_THRESHOLD:
        raise UnsupportedError(
            node.name, "softplus", f"its threshold is {threshold}", f"use {LEAST_THRESHOLD} or more"
        )
    node.args = (source,)
    if beta == 1.0:
        return 0
    shape = shape_of(node)
    factor = insert(graph_module, node, ATEN.mul.Tensor, source, beta, shape=shape)
    plus = insert(graph_module, node, ATEN.softplus.default, factor, shape=shape)
    remove(graph_module, node, insert(graph_module, node, ATEN.div.Tensor, plus, beta, shape=shape))
    return 1
