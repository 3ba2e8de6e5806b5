"""Rewrites of a captured graph, one family a file, each exact in real numbers.

They bring the many operators that PyTorch has to the few that quantization knows
(`exporter.quantize.roles`). `normalise` comes first, before batch norm is folded; `simplify` after.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import GraphModule

from exporter.quantize.edit import ATEN, finish_edit, propagate_shapes
from exporter.quantize.rewrites.activations import expand_activations
from exporter.quantize.rewrites.attention import expand_attention
from exporter.quantize.rewrites.batch_norm import lower_batch_norm
from exporter.quantize.rewrites.constants import lower_constants
from exporter.quantize.rewrites.convolution import lower_convolutions
from exporter.quantize.rewrites.dense import lower_dense
from exporter.quantize.rewrites.functional import IN_PLACE, make_functional
from exporter.quantize.rewrites.group_norm import lower_group_norm, running_instance_norm
from exporter.quantize.rewrites.pooling import lower_pooling
from exporter.quantize.rewrites.resizing import lower_resizing
from exporter.quantize.rewrites.views import VIEWS, lower_views

__all__ = ["REWRITTEN", "normalise", "simplify"]

REWRITTEN = {
    *VIEWS,
    *IN_PLACE,
    ATEN.adaptive_avg_pool2d.default,
    ATEN.adaptive_max_pool2d.default,
    ATEN.batch_norm.default,
    ATEN.conv1d.default,
    ATEN.conv_transpose2d.input,
    ATEN.dropout.default,
    ATEN.group_norm.default,
    ATEN.pixel_unshuffle.default,
    ATEN.rsqrt.default,
    ATEN.scaled_dot_product_attention.default,
    ATEN.silu.default,
}
"""Operators that others take the place of, or that go."""


def normalise(graph_module: GraphModule, sample_shape: Sequence[int]) -> None:
    """Bring equal operators to one form: functional, no dropout, static views.

    Args:
        graph_module: a captured graph; edited in place.
        sample_shape: of one input, without the batch.
    """
    make_functional(graph_module)
    propagate_shapes(graph_module, sample_shape)
    lower_views(graph_module)
    running_instance_norm(graph_module)
    finish_edit(graph_module)
    propagate_shapes(graph_module, sample_shape)


def simplify(graph_module: GraphModule, sample_shape: Sequence[int]) -> None:
    """Bring operators without an integer form of their own to those that have one.

    Args:
        graph_module: a normalised graph whose batch norms are folded where they can be.
        sample_shape: of one input, without the batch.
    """
    for rewrite in (
        lower_batch_norm,
        lower_group_norm,
        expand_attention,
        expand_activations,
        lower_constants,
        lower_pooling,
        lower_resizing,
        lower_convolutions,
        lower_dense,
    ):
        if rewrite(graph_module):
            finish_edit(graph_module)
            propagate_shapes(graph_module, sample_shape)
