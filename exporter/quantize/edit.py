"""Small helpers to read and edit a captured graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError

ATEN = torch.ops.aten
BATCH = 1009
"""The batch with which shapes are propagated: a prime that no other size of a network has, so that
a multiple of it tells the axis that holds the batch."""


def calls(graph_module: GraphModule, *targets: object) -> list[Node]:
    """The nodes that call one of these operators, in order."""
    return [n for n in graph_module.graph.nodes if n.op == "call_function" and n.target in targets]


def argument(node: Node, index: int, default: Any = None) -> Any:
    """A positional argument; `default` where it is left out or None."""
    value = node.args[index] if len(node.args) > index else None
    return default if value is None else value


def parameter_of(graph_module: GraphModule, node: object) -> torch.Tensor | None:
    """The tensor behind a get_attr node; None for anything else."""
    if not (isinstance(node, Node) and node.op == "get_attr"):
        return None
    value: object = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value if isinstance(value, torch.Tensor) else None


def weight_of(graph_module: GraphModule, layer: Node) -> torch.Tensor:
    """The weight of a convolution or dense layer, detached.

    Raises:
        ValueError: it is no constant.
    """
    weight = parameter_of(graph_module, layer.args[1])
    if weight is None:
        raise ValueError(f"{layer.name} has no weight")
    return weight.detach()


def set_parameter(graph_module: GraphModule, name: str, value: torch.Tensor) -> None:
    """Put a tensor in place of the parameter or buffer called `name` (dots allowed)."""
    owner_name, _, attribute = name.rpartition(".")
    owner = graph_module.get_submodule(owner_name)
    old = getattr(owner, attribute)
    if isinstance(old, nn.Parameter):
        setattr(owner, attribute, nn.Parameter(value.detach(), requires_grad=old.requires_grad))
    else:
        setattr(owner, attribute, value.detach())


def add_parameter(
    graph_module: GraphModule, name: str, value: torch.Tensor, before: Node, *, trains: bool = True
) -> Node:
    """Register a parameter (or a buffer that does not train) and read it before a node."""
    free = name.replace(".", "_")
    while hasattr(graph_module, free):
        free += "_"
    if trains:
        graph_module.register_parameter(free, nn.Parameter(value.detach().clone()))
    else:
        graph_module.register_buffer(free, value.detach().clone())
    with graph_module.graph.inserting_before(before):
        return graph_module.graph.get_attr(free)


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's value as the last propagation found it, with `BATCH` for the batch."""
    return tuple(int(size) for size in node.meta["val"].shape)


def sizes_for_view(shape: Sequence[int]) -> list[int]:
    """A shape as `reshape` takes it: -1 for the axis that holds the batch.

    Raises:
        ValueError: the batch lies in more than one axis.
    """
    sizes = [-1 if size % BATCH == 0 else size for size in shape]
    if sizes.count(-1) > 1:
        raise ValueError(f"the batch lies in more than one axis of {list(shape)}")
    return sizes


def view(graph_module: GraphModule, before: Node, source: Node, shape: Sequence[int]) -> Node:
    """`source` in another shape (with `BATCH` for the batch), inserted before a node."""
    if shape_of(source) == tuple(shape):
        return source
    target, sizes = ATEN.reshape.default, sizes_for_view(shape)
    return insert(graph_module, before, target, source, sizes, shape=shape)


def insert(
    graph_module: GraphModule, before: Node, target: Any, *args: Any, shape: Sequence[int] = ()
) -> Node:
    """A call before a node; with `shape`, its value's shape is noted for rewrites that follow."""
    with graph_module.graph.inserting_before(before):
        node = graph_module.graph.call_function(target, args)
    if shape:
        node.meta["val"] = torch.empty(tuple(shape), device="meta")
    return node


def remove(graph_module: GraphModule, node: Node, replacement: Node) -> None:
    """Let `replacement` stand for `node`, and erase `node`."""
    node.replace_all_uses_with(replacement)
    graph_module.graph.erase_node(node)


def replace_uses_except(node: Node, own: Node) -> None:
    """Let `own`, which reads `node`, be read wherever `node` was."""
    node.replace_all_uses_with(own, delete_user_cb=lambda user: user is not own)


def finish_edit(graph_module: GraphModule) -> None:
    """Bring a graph module up to date after its graph was edited."""
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()


def propagate_shapes(graph_module: GraphModule, sample_shape: Sequence[int]) -> None:
    """Note on every node the shape and type of its value for a batch of `BATCH` samples.

    Nothing is computed.

    Args:
        graph_module: takes float32 [N, *sample_shape].
        sample_shape: of one sample.

    Raises:
        UnsupportedError: a node whose value has no shape that is known without its input's values.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    class Propagation(FakeTensorProp):
        def run_node(self, n: Node) -> Any:
            try:
                return super().run_node(n)
            except (RuntimeError, ValueError) as error:
                raise _without_shape(n, error) from error

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), mode:
        example = torch.empty((BATCH, *sample_shape))
    with torch.no_grad():
        Propagation(graph_module, mode).propagate_dont_convert_inputs(example)


def _without_shape(node: Node, error: Exception) -> UnsupportedError:
    """The refusal of a node whose value's shape cannot be told."""
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
    )

    operator = str(node.target).removeprefix("aten.").split(".", maxsplit=1)[0]
    if isinstance(error, DataDependentOutputException | DynamicOutputShapeException):
        reason = "the shape of its result depends on values"
        remedy = "compute it outside of the model, or with a mask of a fixed shape"
    else:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = (
            "use reshape, with the batch in the first axis; in place of nn.MultiheadAttention, "
            "nn.functional.scaled_dot_product_attention"
        )
    return UnsupportedError(node.name, operator, reason, remedy)
