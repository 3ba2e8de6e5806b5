"""Capture: a module becomes a graph of ATen operators, in evaluation mode."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.fx import GraphModule, Node

from exporter.errors import UnsupportedError

ATEN = torch.ops.aten
MAX_BATCH = 1024

_IN_PLACE = {
    ATEN.relu_.default: ATEN.relu.default,
    ATEN.hardtanh_.default: ATEN.hardtanh.default,
    ATEN.add_.Tensor: ATEN.add.Tensor,
}


def capture(module: nn.Module, example: torch.Tensor) -> GraphModule:
    """Trace `module` in evaluation mode with a dynamic batch.

    Args:
        module: the user's module. It is left as it was, in the mode that it had.
        example: [N, ...] with N at least 2, float32.

    Returns:
        A graph module with the module's parameter names, in-place operators made functional,
        dropout removed.

    Raises:
        UnsupportedError: the module's control flow or shapes depend on its data.
    """
    was_training = module.training
    module.eval()
    try:
        batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
        with torch.no_grad(), quiet_torch():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
            graph_module = program.module(check_guards=False)
            # torch puts methods there that refuse; a captured graph has one mode, and both serve.
            for method in ("train", "eval"):
                graph_module.__dict__.pop(method, None)
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, ValueError) as error:
        raise UnsupportedError(
            type(module).__name__,
            "Module",
            str(error).strip().splitlines()[0],
            "make forward() free of branches on tensor values and of fixed batch sizes",
        ) from None
    finally:
        module.train(was_training)
    _normalise(graph_module)
    return graph_module


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep the exporters' own warnings and progress lines from the user's terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def parameter_of(graph_module: GraphModule, node: object) -> torch.Tensor | None:
    """The tensor behind a get_attr node; None for anything else."""
    if not (isinstance(node, Node) and node.op == "get_attr"):
        return None
    value: object = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value if isinstance(value, torch.Tensor) else None


def set_parameter(graph_module: GraphModule, name: str, value: torch.Tensor) -> None:
    """Put a tensor in place of the parameter or buffer called `name` (dots allowed)."""
    owner_name, _, attribute = name.rpartition(".")
    owner = graph_module.get_submodule(owner_name)
    old = getattr(owner, attribute)
    if isinstance(old, nn.Parameter):
        setattr(owner, attribute, nn.Parameter(value.detach(), requires_grad=old.requires_grad))
    else:
        setattr(owner, attribute, value.detach())


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


def _normalise(graph_module: GraphModule) -> None:
    """Bring equal operators to one form: functional, no dropout, global pooling as a mean."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _IN_PLACE:
            node.target = _IN_PLACE[node.target]
        elif node.target in (ATEN.dropout.default, ATEN.dropout_.default):
            remove(graph_module, node, node.args[0])
        elif node.target is ATEN.adaptive_avg_pool2d.default and _sizes(node.args[1]) == {1}:
            node.target = ATEN.mean.dim
            node.args = (node.args[0], [2, 3], True)
    finish_edit(graph_module)


def _sizes(argument: object) -> set[int]:
    return set(argument) if isinstance(argument, (list, tuple)) else {int(argument)}  # type: ignore[call-overload]
