"""Batch norm that no convolution before it can take → depthwise 1x1 convolution.

y = factor * x + shift per channel (DenseNet normalises before it convolves, Huang et al.,
arXiv:1608.06993).
"""

from __future__ import annotations

from torch.fx import GraphModule

from exporter.quantize.edit import ATEN, calls, remove
from exporter.quantize.fold import batch_norm_affine
from exporter.quantize.rewrites.affine import channel_affine


def lower_batch_norm(graph_module: GraphModule) -> int:
    """Rewrite every batch norm that is left; return how many."""
    nodes = calls(graph_module, ATEN.batch_norm.default)
    for node in nodes:
        factor, shift = batch_norm_affine(graph_module, node)
        result = channel_affine(graph_module, node, node.args[0], factor, shift)
        remove(graph_module, node, result)
    return len(nodes)
