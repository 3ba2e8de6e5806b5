"""Functions made of others: SiLU = x * sigmoid(x), 1 / sqrt(x) = x ** -0.5."""

from __future__ import annotations

from torch.fx import GraphModule

from exporter.quantize.edit import ATEN, calls, insert, remove, shape_of


def expand_activations(graph_module: GraphModule) -> int:
    """Rewrite every SiLU and reciprocal root; return how many.

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
    return len(nodes) + len(roots)
