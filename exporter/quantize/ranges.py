"""Ranges of activations by calibration: run sample inputs, remember the extremes of each value."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.fx import GraphModule, Interpreter, Node

from exporter.quantize.plan import Plan


class _Recorder(Interpreter):
    """Runs a graph and keeps the smallest and largest value of the nodes of a plan."""

    def __init__(self, graph_module: GraphModule, plan: Plan) -> None:
        super().__init__(graph_module)
        self.wanted = set(plan.group_of)
        self.low: dict[str, float] = {}
        self.high: dict[str, float] = {}

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        if n in self.wanted and isinstance(result, torch.Tensor):
            low, high = torch.aminmax(result)
            self.low[n.name] = min(self.low.get(n.name, 0.0), float(low))
            self.high[n.name] = max(self.high.get(n.name, 0.0), float(high))
        return result


def measure_ranges(
    graph_module: GraphModule, plan: Plan, batches: Iterable[torch.Tensor]
) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of every planned node, zero included.

    Args:
        graph_module: the graph that the plan was made of.
        plan: its values.
        batches: inputs [N, ...] as the graph takes them.

    Raises:
        ValueError: no batch was given, or a value is not finite (its node is named).
    """
    recorder = _Recorder(graph_module, plan)
    with torch.no_grad():
        for batch in batches:
            recorder.run(batch)
    if not recorder.low:
        raise ValueError("calibration needs at least one batch of inputs")
    for name, low in recorder.low.items():
        if not (abs(low) < float("inf") and abs(recorder.high[name]) < float("inf")):
            raise ValueError(f"calibration met a value that is not finite, at {name}")
    return {name: (low, recorder.high[name]) for name, low in recorder.low.items()}
