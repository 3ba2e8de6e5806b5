"""Where error enters: the signal to quantization noise ratio of every value, float against int8."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from exporter.quantize.lockstep import Values, constants_of, evaluate, is_constant
from exporter.quantize.qat import ActivationQuantizer


@dataclass(frozen=True)
class LayerError:
    """The error of one quantized value.

    Attributes:
        name: of the node that gives the value: a layer, or the activation that is fused with it.
        layer: of the node that computes it.
        isolated_db: SQNR if this value and the weights behind it alone were quantized: what enters
            here. Infinity where nothing differs.
        accumulated_db: SQNR with everything before it quantized, too: what has arrived.
    """

    name: str
    layer: str
    isolated_db: float
    accumulated_db: float


@torch.no_grad()
def layer_errors(
    real: GraphModule, quantized: GraphModule, batches: Iterable[torch.Tensor]
) -> list[LayerError]:
    """Compare a prepared graph with its float twin, value by value; the worst comes first.

    Args:
        real: the float graph, from `lockstep.twin_of` before quantizers were put in place.
        quantized: the prepared graph. Nodes of both have the same names.
        batches: inputs [N, ...] as the graphs take them.

    Returns:
        A row for each quantized value, by `isolated_db`.
    """
    twins = {node.name: node for node in real.graph.nodes}
    constants = constants_of(real, real.graph.nodes) | constants_of(
        quantized, quantized.graph.nodes
    )
    sums: dict[Node, torch.Tensor] = {}
    for batch in batches:
        _compare(real, quantized, twins, constants, batch, sums)
    rows = [
        LayerError(value.name, _computing(value), *_ratios(total)) for value, total in sums.items()
    ]
    return sorted(rows, key=lambda row: row.isolated_db)


def _compare(
    real: GraphModule,
    quantized: GraphModule,
    twins: dict[str, Node],
    constants: Values,
    batch: torch.Tensor,
    sums: dict[Node, torch.Tensor],
) -> None:
    """Add signal, isolated and accumulated noise of one batch to `sums`, float64 [3] a value.

    Of each node three values are at hand: the float one, the quantized one, and the one that it
    gives where what it reads is float.
    """
    exact: Values = {}
    arrived: Values = {}
    alone: Values = {}
    for node in quantized.graph.nodes:
        if is_constant(node) or node.op == "output":
            continue
        if node.op == "placeholder":
            exact[twins[node.name]] = arrived[node] = alone[node] = batch
            continue
        arrived[node] = evaluate(quantized, node, arrived, constants)
        if _is_quantizer(quantized, node):
            value = node.args[0]
            isolated = evaluate(quantized, node, alone, constants)
            expected = exact[twins[value.name]]
            alone[node] = expected
            parts = (expected, isolated - expected, arrived[node] - expected)
            power = torch.stack([(part.double() ** 2).sum() for part in parts])
            sums[value] = sums.get(value, torch.zeros(3, dtype=torch.float64)) + power
        else:
            twin = twins[node.name]
            exact[twin] = evaluate(real, twin, exact, constants)
            alone[node] = evaluate(quantized, node, alone, constants)


def _is_quantizer(quantized: GraphModule, node: Node) -> bool:
    if node.op != "call_module":
        return False
    return isinstance(quantized.get_submodule(str(node.target)), ActivationQuantizer)


def _computing(value: Node) -> str:
    """The node in front of a fused activation: what is not quantized before is part of it."""
    source: Any = value.args[0] if value.args else None
    if isinstance(source, Node) and source.op == "call_function":
        return str(source.name)
    return value.name


def _ratios(power: torch.Tensor) -> tuple[float, float]:
    signal, isolated, accumulated = (float(part) for part in power)
    return tuple(  # type: ignore[return-value]
        10.0 * math.log10(max(signal, 1e-30) / noise) if noise > 0 else math.inf
        for noise in (isolated, accumulated)
    )
