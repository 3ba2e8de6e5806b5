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


class Residuals(nn.Module):
    """x * sigmoid(x) everywhere, as YOLO has it: sums of such products, and their concatenation."""

    def __init__(self, *, reads_twice: bool = False) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.second, self.side = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.head = nn.Conv2d(16, 4, 1)
        self.reads_twice = reads_twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        silu = nn.functional.silu
        trunk = silu(self.stem(x))
        trunk = trunk + silu(self.inner(trunk))
        inner = self.second(trunk)
        result = silu(inner)
        if self.reads_twice:
            result = result + nn.functional.max_pool2d(inner, 3, 1, 1)
        return self.head(torch.cat((trunk + result, silu(self.side(x))), 1))


def planned(module: nn.Module, seed: int):
    """The plan of a network, with ranges drawn for all its values."""
    graph_module = folded(module.eval(), InputSpec((1, 3, 8, 8), "float32"))
    plan = make_plan(graph_module)
    random = np.random.default_rng(seed)
    ranges = {node.name: (-random.uniform(0.3, 8), random.uniform(3, 8)) for node in plan.group_of}
    assign(graph_module, plan, ranges)
    return graph_module, plan, ranges


def odd_part(ratio: float, denominators: range) -> float:
    """How far a ratio is from being a fraction with one of these denominators, relatively."""
    return min(abs(round(ratio * odd) / (ratio * odd) - 1) for odd in denominators)


@pytest.mark.parametrize("seed", range(8))
def test_what_products_have_settled_still_adds_and_joins_exactly(seed):
    graph_module, plan, ranges = planned(Residuals(), seed)
    assert plan.notes == []
    sums = [node for node in graph_module.graph.nodes if node.target in roles.ADDITIONS]
    products = [node for node in graph_module.graph.nodes if node.target in roles.PRODUCTS]
    assert len(sums) == 2
    assert len(products) == 4
    for node in sums:
        for operand in node.args:
            ratio = plan.group_of[operand].step / plan.quantized(node).step
            assert odd_part(ratio, range(511, 1024, 2)) < 1e-6
    for node in products:
        left, right = (plan.group_of[operand].step for operand in node.args)
        assert odd_part(left * right / plan.quantized(node).step, range(511, 2048, 2)) < 1e-6
    for group in plan.groups:
        if group.fixed is None:
            low, high = (
                edge(ranges[m.name][i] for m in group.members) for i, edge in enumerate((min, max))
            )
            assert group.step * 255 < (high - low) * 1.012
            assert group.step * 255 >= (high - low) * (1 - 1e-6)


def test_what_others_read_as_well_stays_and_is_noted():
    notes = planned(Residuals(reads_twice=True), 0)[1].notes
    assert any("tied by other operators" in note for note in notes)
