"""Finish: fake quantizers become the standard quantize and dequantize operators, int8 constants in.

What leaves here is what ships: `Trained` holds the integers and scales that the certificate later
compares with the files.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.ao.quantization.fx._decomposed  # registers torch.ops.quantized_decomposed
from torch.fx import GraphModule, Node

from exporter.quantize.edit import finish_edit
from exporter.quantize.fold import Grid, Grids
from exporter.quantize.qat import ActivationQuantizer, GridWeight
from exporter.quantize.scheme import WEIGHT_MAX, ActivationScale


@dataclass(frozen=True)
class Trained:
    """Everything that training decided.

    Attributes:
        weights: integers and scales by parameter name.
        activations: scale and zero point by graph node.
    """

    weights: Grids
    activations: dict[str, ActivationScale]


def finish(prepared: GraphModule) -> tuple[GraphModule, Trained]:
    """Replace the quantizers of a prepared graph, in place, by standard operators.

    Args:
        prepared: from `exporter.quantize.qat.prepare`, trained or not.

    Returns:
        The graph module, which gives the same floats as before, and what training decided.
    """
    trained = Trained({}, {})
    for node in list(prepared.graph.nodes):
        if node.op != "call_module":
            continue
        module = prepared.get_submodule(str(node.target))
        if isinstance(module, ActivationQuantizer):
            trained.activations[node.args[0].name] = module.scale
            _finish_activation(prepared, node, module.scale)
        elif isinstance(module, GridWeight):
            name = node.meta["weight_name"]
            trained.weights[name] = module.grid()
            _finish_weight(prepared, node, name, trained.weights[name])
    prepared.delete_all_unused_submodules()
    finish_edit(prepared)
    return prepared, trained


def _finish_activation(prepared: GraphModule, node: Node, scale: ActivationScale) -> None:
    limits = (scale.scale, scale.zero_point, *scale.limits, scale.dtype)
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    dequantize = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    with prepared.graph.inserting_after(node):
        integers = prepared.graph.call_function(quantize, (node.args[0], *limits))
    with prepared.graph.inserting_after(integers):
        real = prepared.graph.call_function(dequantize, (integers, *limits))
    node.replace_all_uses_with(real)
    prepared.graph.erase_node(node)


def _finish_weight(prepared: GraphModule, node: Node, name: str, grid: Grid) -> None:
    base = name.replace(".", "_")
    tensors = {
        f"{base}_integers": grid.integers,
        f"{base}_scale": grid.scale,
        f"{base}_zero_point": torch.zeros(len(grid.scale), dtype=torch.int64),
    }
    constants = []
    with prepared.graph.inserting_before(node):
        for key, tensor in tensors.items():
            prepared.register_buffer(key, tensor)
            constants.append(prepared.graph.get_attr(key))
        dequantize = torch.ops.quantized_decomposed.dequantize_per_channel.default
        real = prepared.graph.call_function(
            dequantize, (*constants, 0, -WEIGHT_MAX, WEIGHT_MAX, torch.int8)
        )
    node.replace_all_uses_with(real)
    prepared.graph.erase_node(node)
