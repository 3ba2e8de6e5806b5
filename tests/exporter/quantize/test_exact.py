"""exporter/quantize/exact.py: scales that keep every result away from ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from exporter.inputs import InputSpec
from exporter.quantize import roles
from exporter.quantize.exact import SMALLEST_MARGIN
from exporter.quantize.plan import assign, make_plan
from exporter.quantize.quantize import folded

FIXED = {nn.Sigmoid: (1 / 256, -128, torch.sigmoid), nn.Tanh: (1 / 128, 0, torch.tanh)}


def nearest_tie(function: nn.Module, step: float, zero_point: int) -> float:
    """How near a result of a function with a fixed scale lies to a tie, in steps of it."""
    scale, zero, compute = FIXED[type(function)]
    values = (torch.arange(-128, 128, dtype=torch.float64) - zero_point) * float(np.float32(step))
    integers = compute(values) / scale + zero
    inside = integers[(integers > -128.75) & (integers < 127.75)]
    return float((inside - inside.floor() - 0.5).abs().min())


@pytest.mark.parametrize("function", [nn.Sigmoid(), nn.Tanh()], ids=["sigmoid", "tanh"])
def test_the_input_of_a_fixed_output_moves_off_a_tie(function):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), function, nn.Conv2d(4, 4, 1)).eval()
    graph_module = folded(module, InputSpec((1, 3, 4, 4), "float32"))
    plan = make_plan(graph_module)
    steps = np.linspace(0.03, 0.06, 4001)
    on_a_tie = min(steps, key=lambda step: nearest_tie(function, float(step), 0))
    assert nearest_tie(function, float(on_a_tie), 0) < SMALLEST_MARGIN
    ranges = {node.name: (-128 * on_a_tie, 127 * on_a_tie) for node in plan.group_of}
    assign(graph_module, plan, ranges)
    node = next(node for node in plan.group_of if roles.is_pointwise(node))
    source = plan.group_of[node.args[0]]
    assert plan.quantized(node).step == FIXED[type(function)][0]
    assert nearest_tie(function, source.step, source.scale.zero_point) > SMALLEST_MARGIN
    assert 1.0 < source.step / on_a_tie < 1.006
    assert plan.notes == []
