"""Capture: a module becomes a graph of ATen operators, in evaluation mode."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.fx import GraphModule

from exporter.errors import UnsupportedError

MAX_BATCH = 1024


def capture(module: nn.Module, example: torch.Tensor) -> GraphModule:
    """Trace `module` in evaluation mode with a dynamic batch.

    Args:
        module: the user's module. It is left as it was, in the mode that it had.
        example: [N, ...] with N at least 2, float32.

    Returns:
        A graph module with the module's parameter names.

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
            # Its check of input shapes reads the nodes' notes, which rewrites bring up to date.
            graph_module._forward_pre_hooks.clear()
            graph_module._forward_pre_hooks_with_kwargs.clear()
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, ValueError) as error:
        raise UnsupportedError(
            type(module).__name__,
            "Module",
            str(error).strip().splitlines()[0],
            "make forward() free of branches on tensor values and of fixed batch sizes",
        ) from None
    finally:
        module.train(was_training)
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
